"""How Gaussians are rendered, as far as systems differ in it: part of a model family's settings."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class RenderSettings:
    """What the images of a splat depend on beside the splat, the camera and the background; the defaults are 3DGS's."""

    near: float = 0.01
    """Gaussians with z ≤ near are dropped, world units."""
    dilation: float = 0.3
    """Variance that is added in both directions of the image, square pixels."""
    antialiased: bool = False
    """Dim what the dilation widens (Mip-Splatting, Yu et al. 2024)."""
    subpixel_dimming: bool = False
    """Dim what is smaller than a pixel, and leave out what is next to nothing (see `rasterizer.project`)."""
    unit_rotations: bool = True
    """Normalise quaternions. False takes the matrix of the quaternion as it is, which is no rotation if it is longer or
    shorter than 1 and stretches the Gaussian."""

    def arguments(self) -> dict[str, Any]:
        """Returns them as keywords of `render`."""
        return dataclasses.asdict(self)


DIFFSPLAT_RENDERING = RenderSettings(near=0.2, dilation=0.0, subpixel_dimming=True, unit_rotations=False)
"""How DiffSplat renders (Lin et al. 2025; its fork of RaDe-GS, Zhang et al. 2024, with a kernel size of 0)."""
