"""What a model is asked for when it is scored: importing it is cheap."""

import dataclasses
import pathlib
from typing import Any

from diffgs_jax.data import DataConfig, Split
from diffgs_jax.errors import UserError
from diffgs_jax.rasterizer import Backend


@dataclasses.dataclass(frozen=True)
class ProtocolOptions:
    """What is asked of a model, and how its answers are scored."""

    checkpoint: pathlib.Path | None = None
    """Folder of a training run or of its checkpoints; by default the model that comes with the package."""
    data: pathlib.Path = pathlib.Path(DataConfig().path)
    """Record store with the objects or scenes."""
    split: Split = "test"
    """Which of them."""
    index: pathlib.Path | None = None
    """For scenes: which frames are shown and asked for, {scene: {"context": […], "target": […]} | null}, such as
    pixelSplat's evaluation index of RealEstate10K. The first context frame is shown; the targets are denoised and
    scored."""
    max_objects: int | None = None
    """Score this many objects, spread evenly over the split; all by default."""
    max_views: int | None = None
    """Ask for this many views of an object, spread evenly over all but the one that is shown; all by default."""
    condition_view: int | None = None
    """Number of the stored view that is shown, the same for all objects; by default the one nearest elevation 20°."""
    shown_views: int | None = None
    """Views of an object that are shown, at steps of azimuth as equal as there are; by default one, or as many as the
    model needs. To compare scores of different numbers, name the `target_views`."""
    reconstruct: float | None = None
    """Show the views not clean but noised to this share of the schedule, (0, 1], as views to be made anew; by default
    half for models that are never shown a clean one, and not for others."""
    target_views: tuple[int, ...] | None = None
    """Numbers of the stored views that are asked for, such as those of a ring; all others by default."""
    batch_size: int = 8
    """Objects that are sampled together."""
    seed: int = 0
    """Of the noise."""
    filter: bool = True
    """Score the splat as it is written to files, with what rendering added in training made part of it, where the
    model's config says so; `--no-filter` scores what the network predicted."""
    backend: Backend | None = None
    """Who renders: `xla` runs on any device, `triton` and `mosaic` are kernels for NVIDIA GPUs, `auto` chooses. By
    default what the model's config says, `auto` as a rule."""
    lpips: bool = True
    """Score LPIPS and FD-VGG16 too, if the networks are installed; on a CPU they take longer than all the rest."""
    inception: pathlib.Path | None = None
    """An Inception network as an ONNX file, for FID and KID; diffgs_jax/evaluation/inception.py says how to make it."""


def check_at_least_one(options: Any, *names: str) -> None:
    """Raises a `UserError` for the first of the options that is given and less than 1."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"{name} must be at least 1, not {value}")
