"""Settings of the gsrecon family: data only, no arrays, hashable, so that a config can be a static jit argument."""

import dataclasses
from typing import Literal

from diffgs_jax.models.splat_grid import PluckerRule, SplatGridConfig
from diffgs_jax.rasterizer import DIFFSPLAT_RENDERING, Backend, RenderSettings

InputMap = Literal[
    "normals",  # of the surface, in the world's axes
    "coordinates",  # where in the world the surface is
    "metallic_roughness",  # of its material
    "silhouettes",  # coverage, and where a pixel's ray enters and leaves the visual hull of all views; not published
]
"""What the network may be shown of a view beside its colours and rays."""


@dataclasses.dataclass(frozen=True)
class ReconstructorConfig:
    """The transformer between posed views and their splat grids. The defaults are the published ones."""

    width: int = 512
    """Features of a token."""
    layers: int = 12
    """Transformer blocks."""
    heads: int = 8
    """Attention heads; divides the width."""
    hidden: int = 0
    """Hidden features of a block's MLP; 0 takes the published ones, 8/3 of the width up to a multiple of 256."""
    patch_size: int = 8
    """Side of a token's patch, pixels; divides the image's height and width."""
    stride: int = 1
    """One Gaussian for each stride × stride pixels; divides the patch size. The published network has 1."""
    maps: tuple[InputMap, ...] = ()
    """What a view shows beside colours, in this order; the published weights want normals and coordinates."""
    plucker: PluckerRule = "centered"
    """Which ray belongs to a pixel; `official` for published weights."""
    color_skip: bool = False
    """A Gaussian starts from the colour of its pixel, and the network says what to add to its logit. The published
    network has to remember colours through all blocks."""
    hull_skip: bool = False
    """A Gaussian starts where its pixel's ray enters the visual hull, as opaque as its pixel is covered, and the
    network says what to add; `maps` must have silhouettes. Not published. Networks too small to find out depth by
    themselves start from a rough shape instead of a plane."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that the blocks compute in. Parameters, norms, softmax and Gaussians are float32."""
    attention: Literal["xla", "cudnn"] = "xla"
    """`xla` runs anywhere; `cudnn` (bfloat16 on NVIDIA GPUs, elsewhere the same as `xla`) never holds a tokens × tokens
    matrix."""
    unroll: bool = False
    """Compile every block by itself instead of one in a loop: slower to compile, some 5 % faster to run on a CPU."""
    remat: bool = False
    """Recompute each block's activations in the backward pass: less memory for a third more time."""


@dataclasses.dataclass(frozen=True)
class FrameConfig:
    """The world that the network knows. The first view has azimuth 0 in it, and elevations are kept."""

    up: Literal["z", "y"] = "z"
    """Which axis points up. With `y`, the published one, the first camera is above +z."""
    distance: float | None = None
    """How far from the origin the first camera is; the world is scaled to it. None keeps the object frame, in which the
    object fits a sphere of radius 1; published: 1.4."""
    rebuilt: bool = False
    """Replace every camera by one at the same place that looks at the origin, upright, as the published code does. What
    another camera was turned otherwise, its pictures are taken to be wrong by."""


PUBLISHED_FRAME = FrameConfig(up="y", distance=1.4, rebuilt=True)
"""What the published weights were trained in."""


@dataclasses.dataclass(frozen=True)
class ReconstructionLossConfig:
    """Weights of the terms beside the squared error of the colours, which has 1. A term of weight 0 is not computed."""

    alpha: float = 1.0
    """Weight of the squared error of the coverage."""
    perceptual: float = 1.0
    """Weight of LPIPS. Above 0, training needs `python scripts/fetch_lpips.py`."""
    perceptual_network: Literal["vgg", "alex"] = "vgg"
    """Whose features LPIPS compares: VGG16 as published, or AlexNet, a sixth of its weights and less work."""
    perceptual_size: int = 256
    """Height and width that images are brought to for LPIPS, pixels; 0 leaves them as they are."""
    perceptual_images: int = 0
    """How many of a batch's renderings LPIPS looks at, drawn anew each step, each counted for those left out; 0 takes
    all. Over several devices each step's draw is gathered: leave it at 0."""
    perceptual_warmup: tuple[int, int] = (0, 0)
    """Optimizer steps from and to which the weight of LPIPS rises from 0 in a straight line."""
    depth: float = 0.0
    """Weight of the absolute error of the grid's depth where that of the input views is known, which no rendering is
    needed for; not published."""
    coordinates: float = 0.0
    """Weight of the squared error of the coordinates that are seen, white where nothing is."""
    normals: float = 0.0
    """Weight of 1 − the mean cosine between seen and true normals, both as colours, white where nothing is."""
    supervised_inputs: int = 0
    """Input views of a sample that are rendered and compared, drawn anew each step; 0 takes all of them."""
    views_at_once: int = 0
    """Views of a sample that are rendered together; each group is rendered again in the backward pass instead of being
    kept: less memory for more time. 0 renders all at once."""


@dataclasses.dataclass(frozen=True)
class GSReconConfig:
    """A feed-forward reconstructor: a few posed views in, a splat out (GSRecon of DiffSplat, Lin et al., ICLR 2025)."""

    network: ReconstructorConfig = ReconstructorConfig()
    """The transformer."""
    views: int = 4
    """Posed views that it is given."""
    grid: SplatGridConfig = SplatGridConfig()
    """What the numbers of its grids mean."""
    frame: FrameConfig = FrameConfig()
    """The world that it knows."""
    rendering: RenderSettings = DIFFSPLAT_RENDERING
    """How its Gaussians are rendered, in training and ever after."""
    losses: ReconstructionLossConfig = ReconstructionLossConfig()
    """What it is trained to do."""
    background: float = 1.0
    """Grey level in [0, 1] that renderings are composited on; the data's must be the same."""
    backend: Backend = "auto"
    """Who renders: `xla` runs on any device, `triton` and `mosaic` are kernels for NVIDIA GPUs, `auto` takes what is
    proven on the device. It changes no result beyond rounding, and is no part of what a model is."""
