"""From a picture of a room and a camera path to Gaussians, and a film along the path."""

import dataclasses
import os
import pathlib
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Float

from diffgs_jax.data.scene_frame import to_scene_frame
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import SCENE, Cameras, Gaussians, Views, with_unit_rotations
from diffgs_jax.inference.filtering import filtered, rendering_of
from diffgs_jax.inference.options import InputOptions, SamplingOptions
from diffgs_jax.inference.pipeline import Pipeline
from diffgs_jax.inference.rectification import at_size
from diffgs_jax.inference.scene_paths import ScenePath, first_beyond, refuse_walls
from diffgs_jax.interop import read_image, render_cameras, visible_gaussians, write_gaussians, write_video
from diffgs_jax.models import Request
from diffgs_jax.rasterizer import Backend, RenderSettings

_SOLID = 0.5
"""Coverage from which what a splat shows counts as something in the way."""


@dataclasses.dataclass(frozen=True)
class SceneResult:
    """A scene made of one picture.

    Attributes:
        gaussians: one set, `[n]`, in the scene frame.
        views: `[1, v]`: the picture (`is_condition`), then the views along the path that were denoised.
        path: `[n]` cameras of the path in the scene frame; the first is the picture's.
        blocked: the first frame of the path that lies behind what the splat shows from the frame before; None for none.
        background: grey level in [0, 1] behind the scene.
        rendering: how the Gaussians are rendered so that they look as in training.
        backend: who renders.
    """

    gaussians: Gaussians
    views: Views
    path: Cameras
    blocked: int | None
    background: float
    rendering: RenderSettings
    backend: Backend

    def film(
        self, file: str | os.PathLike[str], *, size: int = 256, progress: Callable[[int], object] | None = None
    ) -> None:
        """Writes a film along the path, a frame for each of its cameras.

        Raises:
            UserError: if it cannot be written.
        """
        seen = render_cameras(
            self.gaussians,
            self.path,
            size=size,
            background=self.background,
            rendering=self.rendering,
            backend=self.backend,
            progress=progress,
        )
        write_video(file, seen.images)

    def save_splat(self, file: str | os.PathLike[str], *, prune: bool = True) -> None:
        """Writes the Gaussians as the suffix says, without those that change no pixel unless told otherwise.

        Raises:
            UserError: if the file cannot be written.
        """
        gaussians = with_unit_rotations(self.gaussians)
        write_gaussians(file, visible_gaussians(gaussians) if prune else gaussians)


def sample_scene(
    pipeline: Pipeline,
    image: str | os.PathLike[str] | np.ndarray,
    path: ScenePath,
    sampling: SamplingOptions = SamplingOptions(),  # noqa: B008 (frozen)
    *,
    name: str = "the path",
    on_step: Callable[[int], object] | None = None,
) -> SceneResult:
    """Makes a scene of one picture.

    The middle square of the picture is the condition. Cameras along the path are denoised, evenly spread, as many as in
    training or as `sampling.views` says; the frame and its unit follow from those cameras as in training.

    Args:
        pipeline: a model that knows scenes.
        image: path of a picture, or pixels `[h, w, 3 or 4]`.
        path: of `scene_path`; its first camera is the picture's.
        sampling: how to sample.
        name: of the path, for messages.
        on_step: called with the number of steps done.

    Raises:
        UserError: if the model knows no scenes, or an option is out of range.
        DataError: if the picture cannot be read, or the path leads through a wall that its depth shows.
    """
    pipeline.check(InputOptions(), sampling, scene=True)
    refuse_walls(path, name)
    config = pipeline.config
    count = config.data.noisy_views if sampling.views is None else sampling.views
    chosen = np.linspace(0, len(path.cameras.intrinsics) - 1, count + 1).round().astype(int)[1:]
    order = np.concatenate([[0], chosen, np.arange(len(path.cameras.intrinsics))])
    stored = np.asarray(path.cameras.camera_to_world)
    poses, _ = to_scene_frame(stored[order], count + 1, frame=config.data.scene_frame, extent=config.data.scene_extent)
    lens = np.asarray(path.cameras.intrinsics, np.float32)[order]
    domain = np.full(1, SCENE, np.int32)

    def cameras(part: slice) -> Cameras:
        return Cameras(poses[None, part], lens[None, part])

    picture = middle_square(image, config.data.resolution)
    given = Views(picture[None, None], cameras(slice(0, 1)), np.ones((1, 1), bool), domain)
    request = Request(config.data.resolution, domain, given, cameras(slice(1, count + 1)))
    if on_step is not None:
        on_step(0)
    generated = None
    for progress in pipeline.generate(request, [sampling.seed], sampling, often=on_step is not None):
        generated = progress.generated
        jax.block_until_ready(generated)
        if on_step is not None:
            on_step(progress.done)
    assert generated is not None and generated.gaussians is not None and generated.views is not None
    found = jax.tree.map(np.asarray, generated)
    variance = pipeline.filter_variance(sampling)
    gaussians = Gaussians(*(leaf[0] for leaf in filtered(found.gaussians, request, variance)))
    way = Cameras(poses[count + 1 :], lens[count + 1 :])
    settings = rendering_of(pipeline.requirements, variance)
    backend = pipeline.requirements.backend
    blocked = first_blocked(gaussians, way, config.data.resolution, settings, backend)
    return SceneResult(gaussians, found.views, way, blocked, pipeline.background, settings, backend)


def first_blocked(
    gaussians: Gaussians, path: Cameras, size: int, rendering: RenderSettings, backend: Backend = "auto"
) -> int | None:
    """Returns the first camera of a path that is behind what the Gaussians show from the one before; None if none is.

    Args:
        gaussians: one set.
        path: `[n]`, in its frame.
        size: height and width of the renderings that are looked at, pixels.
        rendering: how they are rendered.
        backend: who renders.
    """
    seen = render_cameras(gaussians, path, size=size, rendering=rendering, backend=backend)
    depths = np.where(seen.alphas > _SOLID, seen.depths, np.nan)
    poses = np.asarray(path.camera_to_world, np.float64)
    for number in range(len(poses) - 1):
        inverse = np.linalg.inv(poses[number])
        center = inverse[:3, :3] @ poses[number + 1, :3, 3] + inverse[:3, 3]
        if first_beyond(center[None], depths[number], np.asarray(path.intrinsics)[number]) is not None:
            return number + 1
    return None


def middle_square(image: str | os.PathLike[str] | np.ndarray, side: int) -> Float[np.ndarray, "{side} {side} 3"]:
    """Returns the middle square of a picture at a model's size, in [0, 1].

    Raises:
        UserError: if it cannot be read.
        DataError: if it is no picture, or smaller than the model's.
    """
    pixels = np.asarray(image) if isinstance(image, np.ndarray) else read_image(pathlib.Path(image))
    values = pixels.astype(np.float32) / 255 if pixels.dtype == np.uint8 else pixels.astype(np.float32)
    height, width = values.shape[:2]
    square = min(height, width)
    if square < 8:
        raise UserError(f"the picture is {width}×{height} pixels: give a larger one")
    top, left = (height - square) // 2, (width - square) // 2
    cut = values[top : top + square, left : left + square, :3]
    opaque = np.concatenate([cut, np.ones_like(cut[..., :1])], axis=-1)
    return at_size(opaque, side)[..., :3]
