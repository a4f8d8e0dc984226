"""Draws what a model makes of pictures: each row is the picture as the model saw it, then its splat from all around.

python scripts/draw_samples.py --images assets/example.png assets/examples/*.png --out docs/samples.png
"""

import dataclasses
import pathlib

import jax
import numpy as np

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.diffusion import SamplerKind
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.geometry import orbit
from diffgs_jax.inference import load
from diffgs_jax.interop import tile_images, write_image
from diffgs_jax.rasterizer import render


@dataclasses.dataclass(frozen=True)
class Options:
    """What to draw."""

    images: tuple[pathlib.Path, ...]
    """Pictures, one row each."""
    out: pathlib.Path = pathlib.Path("samples.png")
    """PNG to write."""
    checkpoint: pathlib.Path | None = None
    """A run or a checkpoint; by default the model that comes with the package."""
    turns: int = 6
    """Views around the object, the first from where the picture was taken."""
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
    pipeline = load(options.checkpoint)
    rig = pipeline.config.rig
    cameras = orbit(
        np.arange(options.turns) * 360.0 / options.turns,
        elevation_degrees=rig.elevation,
        distance=rig.distance,
        fov_degrees=rig.fov,
    )
    draw = jax.jit(
        lambda gaussians, rendering: (
            render(
                gaussians,
                cameras,
                height=options.size,
                width=options.size,
                background=pipeline.background,
                **rendering.arguments(),
            ).image
        ),
        static_argnums=1,
    )
    rows = []
    for path in options.images:
        result = pipeline(path, seed=options.seed, steps=options.steps, sampler=options.sampler)
        assert result.views is not None
        seen = jax.image.resize(result.views.images[0, 0], (options.size, options.size, 3), "bilinear")
        rows.append(np.concatenate([np.asarray(seen)[None], np.asarray(draw(result.splat, result.rendering))]))
    write_image(options.out, tile_images(np.stack(rows)))
    print(f"{options.out}: {len(rows)} objects")


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Options, description=__doc__))
