"""Draws what a model makes of pictures: each row is the picture as the model saw it, then its splat from all around.

python scripts/draw_samples.py --images assets/example.png assets/examples/*.png --out docs/samples.png

A film shows the pictures side by side, and under each its splat turning:

python scripts/draw_samples.py --images assets/example.png assets/examples/*.png --out docs/turning.webp --size 176
"""

import dataclasses
import pathlib

import jax
import numpy as np

from diffgs_jax.commands.progress import progress_bar
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.diffusion import SamplerKind
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.inference import load
from diffgs_jax.interop import VIDEO_SUFFIXES, render_turntable, tile_images, to_bytes, write_image, write_video

FRAMES_PER_SECOND = 12


@dataclasses.dataclass(frozen=True)
class Options:
    """What to draw."""

    images: tuple[pathlib.Path, ...]
    """Pictures, one row each."""
    out: pathlib.Path = pathlib.Path("samples.png")
    """PNG to write, or a film (.webp, .gif, .mp4)."""
    checkpoint: pathlib.Path | None = None
    """A run or a checkpoint; by default the model that comes with the package."""
    turns: int | None = None
    """Views around the object, the first from where the picture was taken; 6 by default, 48 of a film."""
    size: int = 128
    """Height and width of each picture, pixels."""
    steps: int = 30
    """Denoising steps."""
    sampler: SamplerKind = "ddim"
    """As in `python -m diffgs_jax.sample`."""
    seed: int = 0
    """Of the noise."""


def main(options: Options) -> None:
    """Runs the command line."""
    if not options.out.parent.is_dir():
        raise UserError(f"there is no folder {options.out.parent} to write {options.out.name} to")
    is_film = options.out.suffix.lower() in VIDEO_SUFFIXES
    turns = options.turns or (48 if is_film else 6)
    pipeline = load(options.checkpoint)
    seen, turned = [], []
    with progress_bar("compiling", len(options.images), "object") as bar:
        for path in options.images:
            result = pipeline(path, seed=options.seed, steps=options.steps, sampler=options.sampler)
            assert result.views is not None
            seen.append(jax.image.resize(result.views.images[0, 0], (options.size, options.size, 3), "bilinear"))
            turned.append(
                render_turntable(
                    result.splat,
                    frames=turns,
                    size=options.size,
                    rig=result.rig,
                    background=pipeline.background,
                    rendering=result.rendering,
                )
                / 255
            )
            bar.set_description("drawing", refresh=False)
            bar.update(1)
    pictures, views = np.asarray(seen), np.asarray(turned, np.float32)
    if is_film:
        frames = [to_bytes(tile_images(np.stack([pictures, views[:, frame]]))) for frame in range(turns)]
        write_video(options.out, np.stack(frames), frames_per_second=FRAMES_PER_SECOND)
    else:
        write_image(options.out, tile_images(np.concatenate([pictures[:, None], views], axis=1)))
    print(f"{options.out}: {len(pictures)} objects")


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Options, description=__doc__))
