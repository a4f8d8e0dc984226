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
from diffgs_jax.geometry import (
    Gaussians,
    ObjectRig,
    Similarity,
    Views,
    inverse_similarity,
    moved_gaussians,
    with_unit_rotations,
)
from diffgs_jax.inference.options import Frame
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
from diffgs_jax.rasterizer import Backend, RenderSettings


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
        rendering: how these Gaussians are rendered so that they look as in training: with little dilation where the
            filter is part of them.
        backend: who renders turntables.
        trajectory: the way there, if asked for.
        given: the similarity from the frame that cameras were given in to the object frame; None without another.
        frame: where the Gaussians of files are, unless another is asked for.
    """

    gaussians: Gaussians | None
    views: Views | None
    images: Float[np.ndarray, "1 h w 3"] | None = None
    rig: ObjectRig = ObjectRig()
    background: float = 1.0
    rendering: RenderSettings = RenderSettings()
    backend: Backend = "auto"
    trajectory: Trajectory | None = None
    given: Similarity | None = None
    frame: Frame = "object"

    @property
    def splat(self) -> Gaussians:
        """The Gaussians.

        Raises:
            UserError: if the model makes none.
        """
        if self.gaussians is None:
            raise UserError("this model makes images, not Gaussians")
        return self.gaussians

    def stored(self, *, frame: Frame | None = None, raw: bool = False) -> Gaussians:
        """Returns the Gaussians as files hold them: with unit quaternions, so that viewers show what the model showed.

        Args:
            frame: `object`, or that of the `cameras` that were given; `self.frame` if None.
            raw: leave quaternions as long as they are, which only the model's own renderer understands.

        Raises:
            UserError: if there is no other frame, or raw Gaussians are asked for in it.
        """
        gaussians, frame = self.splat, self.frame if frame is None else frame
        if not raw and not self.rendering.unit_rotations:
            gaussians = with_unit_rotations(gaussians)
        if frame == "object":
            return gaussians
        if raw:
            raise UserError("raw Gaussians are in the object frame: quaternions of other lengths cannot be turned")
        if self.given is None:
            raise UserError("the cameras were given in the object frame, or not at all: there is no other frame")
        if gaussians.sh.shape[-2] != 1:
            raise UserError(
                "colours that depend on the direction cannot be turned: leave the splat in the object frame"
            )
        return Gaussians(*map(np.asarray, moved_gaussians(inverse_similarity(self.given), gaussians)))

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

    def save(
        self, path: str | os.PathLike[str], *, prune: bool = True, frame: Frame | None = None, raw: bool = False
    ) -> None:
        """Writes the Gaussians (`.ply`, `.spz`, `.splat`) or a mesh of them (`.glb`, `.obj`), as the suffix says.

        Args:
            path: the file.
            prune: leave out what changes no pixel (`pruned`).
            frame: of Gaussians, as for `stored`; meshes are in the object frame.
            raw: of Gaussians, as for `stored`; `.ply` only.

        Raises:
            UserError: if the suffix is none of these, a package is missing, or the file cannot be written.
            DataError: if a value is not finite, or the splat too faint for a mesh.
        """
        if pathlib.Path(path).suffix.lower() in MESH_SUFFIXES:
            write_mesh(path, self.mesh())
        else:
            self.save_splat(path, prune=prune, frame=frame, raw=raw)

    def save_splat(
        self, path: str | os.PathLike[str], *, prune: bool = True, frame: Frame | None = None, raw: bool = False
    ) -> None:
        """Writes the Gaussians, as `save` does, and as `.glb` with KHR_gaussian_splatting, `.compressed.ply` or `.sog`.

        Args:
            path: the file; see `diffgs_jax.interop.write_gaussians`.
            prune: leave out what changes no pixel (`pruned`).
            frame: as for `stored`.
            raw: as for `stored`; `.ply` only.

        Raises:
            UserError: if the suffix is none of these, a program is missing, or the file cannot be written.
            DataError: if a value is not finite.
        """
        kept = (self.pruned() if prune else self).stored(frame=frame, raw=raw)
        write_gaussians(path, kept, raw=raw)

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
            rendering=self.rendering,
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
        return write_ply(path, (self.pruned() if prune else self).stored())

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
            rendering=self.rendering,
            backend=self.backend,
            progress=progress,
        )
        write_video(path, film)
