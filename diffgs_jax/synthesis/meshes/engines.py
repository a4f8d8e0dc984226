"""The engines that meshes can be rendered with, behind one face."""

from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Cameras
from diffgs_jax.synthesis.meshes.blender import BlenderRenderer
from diffgs_jax.synthesis.meshes.loading import MeshPart, Surfaces
from diffgs_jax.synthesis.meshes.raycasting import RayCaster
from diffgs_jax.synthesis.meshes.rendering import MeshRenderer

Engine = Literal["fast", "blender"]


@runtime_checkable
class Renderer(Protocol):
    """What `MeshRenderer`, `RayCaster` and `BlenderRenderer` can all do."""

    def render(self, parts: list[MeshPart], cameras: Cameras) -> UInt8[np.ndarray, "n s s 4"]:
        """Returns RGBA pictures, straight alpha."""
        ...

    def render_surfaces(self, parts: list[MeshPart], cameras: Cameras) -> Surfaces:
        """Returns the depth and the normals of what `render` shows."""
        ...

    def close(self) -> None:
        """Frees what it holds."""
        ...


def open_renderer(size: int) -> MeshRenderer | RayCaster:
    """Returns OpenGL where it works, ray casting where only that does.

    Args:
        size: height and width of the pictures, pixels.

    Raises:
        UserError: if neither is installed.
    """
    try:
        return MeshRenderer(size)
    except UserError as no_opengl:
        try:
            return RayCaster(size)
        except UserError as no_rays:
            raise UserError(f"{no_opengl}; or, slower: {no_rays}") from None


def open_engine(
    engine: Engine, size: int, *, samples: int = 32, blender: str | None = None, threads: int = 0
) -> MeshRenderer | RayCaster | BlenderRenderer:
    """Opens an engine.

    Args:
        engine: which.
        size: height and width of the pictures, pixels.
        samples: paths for each pixel, of Blender.
        blender: a Blender, or a Python with `bpy`; see `BlenderRenderer`.
        threads: of Blender; 0 takes every core.

    Raises:
        UserError: if it is not installed.
    """
    if engine == "blender":
        return BlenderRenderer(size, program=blender, samples=samples, threads=threads)
    return open_renderer(size)


def engine_name(renderer: Renderer) -> str:
    """Returns what a dataset's index says of its renderer."""
    match renderer:
        case BlenderRenderer():
            return f"Blender {renderer.version}, Cycles"
        case MeshRenderer():
            return "OpenGL"
        case _:
            return "ray casting"
