"""What was generated, and how it leaves."""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import make_folder
from diffgs_jax.geometry import DILATION, Gaussians, ObjectRig, Views
from diffgs_jax.interop import (
    MapFormat,
    MapKind,
    Shown,
    Sphere,
    check_maps,
    clean_gaussians,
    render_orbit,
    render_turntable,
    visible_gaussians,
    write_gaussians,
    write_maps,
    write_ply,
    write_video,
)
from diffgs_jax.meshing import MESH_SUFFIXES, Mesh, TexturedMesh, bake_texture, extract_mesh, write_mesh
from diffgs_jax.rasterizer import Backend


class Trajectory(NamedTuple):
    """What a sampler was at on its way, one row a step.

    Attributes:
        noisy: `[steps, v, h, w, 3]` the views it was at after the step, in [0, 1] up to noise.
        predicted: `[steps, v, h, w, 3]` the clean views that the step predicted.
    """

    noisy: Float[np.ndarray, "steps v h w 3"]
    predicted: Float[np.ndarray, "steps v h w 3"]


@dataclasses.dataclass(frozen=True)
class Result:
    """What was generated.

    Attributes:
        gaussians: one set, `[n, …]`, in the object frame; the first image was taken from azimuth 0. None from a model
            that makes none.
        views: `[1, v]`, the images as the model saw them (`is_condition`), then the Gaussians rendered at the generated
            views' cameras; None from a model that makes no posed views.
        images: `[1, h, w, 3]` in [0, 1], from a model that makes images without a pose.
        rig: the cameras of the generated views, and of turntables.
        background: grey level in [0, 1] that the views are on.
        dilation: what `render` adds to these Gaussians so that they look as in training, square pixels: little where
            the filter is part of them.
        backend: who renders turntables.
        trajectory: the way there, if asked for.
    """

    gaussians: Gaussians | None
    views: Views | None
    images: Float[np.ndarray, "1 h w 3"] | None = None
    rig: ObjectRig = ObjectRig()
    background: float = 1.0
    dilation: float = DILATION
    backend: Backend = "auto"
    trajectory: Trajectory | None = None

    @property
    def splat(self) -> Gaussians:
        """The Gaussians.

        Raises:
            UserError: if the model makes none.
        """
        if self.gaussians is None:
            raise UserError("this model makes images, not Gaussians")
        return self.gaussians

    def cleaned(self, *, min_opacity: float = 0.0, crop_radius: float | None = None) -> "Result":
        """Returns the same without Gaussians that are faint or far out.

        Args:
            min_opacity: fainter ones go, [0, 1].
            crop_radius: those whose centre is farther from the origin go; None keeps all.

        Raises:
            UserError: if a setting is out of range.
            DataError: if none is left.
        """
        crop = None if crop_radius is None else Sphere(crop_radius)
        kept = clean_gaussians(self.splat, min_opacity=min_opacity, crop=crop)
        if not len(kept.opacities):
            raise DataError(f"no Gaussian is left: none is as opaque as {min_opacity:g} and as near as asked")
        return dataclasses.replace(self, gaussians=kept)

    def pruned(self) -> "Result":
        """Returns the same without the Gaussians that change no pixel of any picture.

        Raises:
            DataError: if none is left.
        """
        kept = visible_gaussians(self.splat)
        if not len(kept.opacities):
            raise DataError("every Gaussian is too faint to be seen: there is nothing to write")
        return dataclasses.replace(self, gaussians=kept)

    def save(self, path: str | os.PathLike[str], *, prune: bool = True) -> None:
        """Writes the Gaussians (`.ply`, `.spz`, `.splat`) or a mesh of them (`.glb`, `.obj`), as the suffix says.

        Args:
            path: the file.
            prune: leave out what changes no pixel (`pruned`).

        Raises:
            UserError: if the suffix is none of these, a package is missing, or the file cannot be written.
            DataError: if a value is not finite, or the splat too faint for a mesh.
        """
        if pathlib.Path(path).suffix.lower() in MESH_SUFFIXES:
            write_mesh(path, self.mesh())
        else:
            self.save_splat(path, prune=prune)

    def save_splat(self, path: str | os.PathLike[str], *, prune: bool = True) -> None:
        """Writes the Gaussians, as `save` does, and as `.glb` with KHR_gaussian_splatting, `.compressed.ply` or `.sog`.

        Args:
            path: the file; see `diffgs_jax.interop.write_gaussians`.
            prune: leave out what changes no pixel (`pruned`).

        Raises:
            UserError: if the suffix is none of these, a program is missing, or the file cannot be written.
            DataError: if a value is not finite.
        """
        write_gaussians(path, (self.pruned() if prune else self).splat)

    def save_maps(
        self,
        folder: str | os.PathLike[str],
        *,
        kinds: tuple[MapKind, ...] = ("depth", "normals", "mask"),
        form: MapFormat = "exr",
        views: int = 8,
        size: int = 256,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Writes depth, normals and coverage as seen from evenly around, as files of numbers.

        Args:
            folder: gets `depth_000.exr` and so on, and `maps.json` with the cameras; made if need be.
            kinds: what is written.
            form: float32 EXR, which needs the extra `maps`, or 16-bit PNG.
            views: how many.
            size: height and width, pixels.
            progress: called with the number of views that have been finished since the last call.

        Raises:
            UserError: if a package is missing, or the files cannot be written.
        """
        check_maps(kinds, form, views)
        seen = render_orbit(
            self.splat,
            np.arange(views) * 360.0 / views,
            size=size,
            rig=self.rig,
            background=self.background,
            dilation=self.dilation,
            backend=self.backend,
            progress=progress,
        )
        write_maps(make_folder(pathlib.Path(folder)), seen, kinds, form)

    def textured(self, mesh: Mesh | None = None, *, size: int = 1024, **settings: Any) -> TexturedMesh:
        """Returns a mesh with a texture baked of this splat; see `diffgs_jax.meshing.bake_texture`.

        Args:
            mesh: of the splat; it is made if None.
            size: side of the texture, pixels.
            **settings: others of `bake_texture`.
        """
        return bake_texture(self.splat, self.mesh() if mesh is None else mesh, size=size, **settings)

    def mesh(self, **settings: Any) -> Mesh:
        """Returns a closed mesh with vertex colours; settings are those of `diffgs_jax.meshing.extract_mesh`."""
        return extract_mesh(self.splat, **settings)

    def save_ply(self, path: str | os.PathLike[str], *, prune: bool = True) -> int:
        """Writes the Gaussians for any 3D Gaussian splatting viewer, and returns how many were written.

        Args:
            path: the file.
            prune: leave out what changes no pixel (`pruned`).
        """
        return write_ply(path, (self.pruned() if prune else self).splat)

    def turntable(
        self,
        path: str | os.PathLike[str],
        *,
        shows: Shown = "color",
        frames: int = 48,
        size: int = 256,
        background: float | tuple[float, float, float] | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Writes a film of one turn around the object.

        Args:
            path: the film: `.mp4`, `.gif` or `.webp`.
            shows: their colours, depth or normals.
            frames: pictures in the turn.
            size: height and width, pixels; even.
            background: grey or RGB in [0, 1]; what the model was trained on if None.
            progress: called with the number of frames that have been finished since the last call.

        Raises:
            UserError: if it cannot be written.
        """
        film = render_turntable(
            self.splat,
            frames=frames,
            size=size,
            rig=self.rig,
            background=self.background if background is None else background,
            shows=shows,
            dilation=self.dilation,
            backend=self.backend,
            progress=progress,
        )
        write_video(path, film)
