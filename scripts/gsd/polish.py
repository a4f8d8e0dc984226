"""Polishes sampled splats: render, improve the pictures by a 2D diffusion model, fit again (GSD, arXiv 2407.04237).

    python -m diffgs_jax.sample --checkpoint runs/gsd_furniture --samples 20 --out imagined
    python scripts/gsd/polish.py --splats imagined --prior runs/single_views_ddpm_64 --out polished

Each `gaussians.ply` below a folder is rendered from all around; every picture is noised to a share of the prior's
schedule and denoised again by itself; and the splat is fitted to what comes out, in as many rounds as asked. Shares,
numbers of views and rounds are our own choice. Whether it helps is to be judged by `polish.json` and by looking:
pictures improved one by one need not agree with each other, and a fit to them may be blurred by that.
"""

import dataclasses
import json
import pathlib

import jax
import numpy as np
from jaxtyping import Array, Float
from tqdm import tqdm

from diffgs_jax import optimization
from diffgs_jax.commands.fit_outputs import render_images
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.diffusion import Sampler, make_sampler, starting_later
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.evaluation import psnr
from diffgs_jax.files import filled_folder, write_json
from diffgs_jax.geometry import OBJECT, Cameras, Gaussians, Views, orbit
from diffgs_jax.interop import read_gaussians, tile_images, write_gaussians, write_image
from diffgs_jax.models import Batch, Diffuses, Sampling, family, request_of
from diffgs_jax.models.stored import StoredModel, load_stored

_CLEAR = 0.02
"""How much darker than white a pixel is that shows something."""


@dataclasses.dataclass(frozen=True)
class PolishConfig:
    """What is polished, and how."""

    splats: pathlib.Path
    """Folder with `gaussians.ply` files, in it or in folders below, in the object frame."""
    prior: pathlib.Path
    """A trained model of images on white, of any family that makes them (`ddpm`)."""
    out: pathlib.Path
    """Folder to fill: for each splat the polished one and a picture, before above after; and `polish.json`."""
    resolution: int = 64
    """Height and width of the pictures, pixels: what the prior knows."""
    views: int = 12
    """Pictures around the object, half of them 20° above it and half at its height."""
    strength: float = 0.3
    """Share of the noise schedule that pictures are noised to, (0, 1]."""
    denoising_steps: int = 30
    """Steps of DDIM over the whole schedule; a share of them is taken."""
    rounds: int = 2
    """How often."""
    steps: int = 200
    """Steps of each fit."""
    seed: int = 0
    """Of the noise."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    with report_errors():
        polish(parse_options(PolishConfig, arguments, prog="polish.py"))


def polish(options: PolishConfig) -> None:
    """Polishes all splats of a folder.

    Raises:
        UserError: if there is none, or the prior makes no images.
        DataError: if a file cannot be used.
    """
    found = sorted(options.splats.rglob("gaussians.ply"))
    if not found:
        raise UserError(f"{options.splats} holds no gaussians.ply")
    prior = load_stored(options.prior, "sampling")
    module = family(prior.config)
    if not isinstance(module, Diffuses) or module.requirements(prior.config).makes != "images":
        raise UserError(f"{options.prior} is no diffusion model of images: it cannot improve pictures")
    whole = make_sampler(module.schedule(prior.config), "ddim", options.denoising_steps)
    sampler = starting_later(whole, options.strength)
    cameras = cameras_around(options.views)
    rows = []
    with filled_folder(options.out) as folder:
        for number, path in enumerate(tqdm(found, unit="splat")):
            before = now = read_gaussians(path)
            for round_number in range(options.rounds):
                shown, _ = render_images(now, cameras, options.resolution)
                key = jax.random.fold_in(jax.random.key(options.seed), number * options.rounds + round_number)
                better = improved(prior, sampler, shown, cameras, key)
                now = fitted(now, better, cameras, options)
            first, last = (render_images(one, cameras, options.resolution)[0] for one in (before, now))
            name = path.parent.relative_to(options.splats).as_posix().replace("/", "_") or "splat"
            write_gaussians(folder / f"{name}.ply", now)
            write_image(folder / f"{name}.png", tile_images(np.stack([first[:8], last[:8]])))
            moved = float(np.mean(psnr(last, first)))
            rows.append({"splat": str(path), "gaussians": len(now.opacities), "psnr_to_before": moved})
        write_json(
            folder / "polish.json", {"options": json.loads(json.dumps(vars(options), default=str)), "splats": rows}
        )


def cameras_around(views: int) -> Cameras:
    """Returns cameras `[views]` around the object, by turns 20° above it and at its height."""
    azimuths = np.arange(views) * 360.0 / views
    rings = [orbit(azimuths[start::2], elevation_degrees=height) for start, height in ((0, 20.0), (1, 0.0))]
    return Cameras(*(np.concatenate(leaves) for leaves in zip(*rings, strict=True)))


def improved(
    prior: StoredModel, sampler: Sampler, images: Float[np.ndarray, "v s s 3"], cameras: Cameras, key: Array
) -> Float[np.ndarray, "v s s 3"]:
    """Returns pictures noised and denoised by a model of images, each by itself.

    Args:
        prior: the model.
        sampler: of `starting_later`.
        images: in [0, 1].
        cameras: of them; a model of images does not look at them.
        key: of the noise.
    """
    module, count = family(prior.config), len(images)
    at = Cameras(*(np.asarray(leaf)[:, None] for leaf in cameras))
    views = Views(images[:, None], at, np.zeros((count, 1), bool), np.full(count, OBJECT, np.int32))
    batch = Batch(views, None, np.zeros(count, np.int32))
    start = module.clean_state(prior.config, prior.params, prior.frozen, batch)
    *_, last = module.generate(
        prior.config,
        prior.params,
        prior.frozen,
        request_of(batch),
        Sampling(sampler, start=start),
        jax.random.split(key, count),
    )
    return np.asarray(last.generated.images)


def fitted(
    gaussians: Gaussians, images: Float[np.ndarray, "v s s 3"], cameras: Cameras, options: PolishConfig
) -> Gaussians:
    """Returns a splat fitted to pictures on white, from where it was, with as many Gaussians."""
    capacity = optimization.roomy(len(gaussians.opacities))
    config = optimization.FitConfig(
        steps=options.steps, capacity=capacity, sh_degree=0, growth="none", seed=options.seed
    ).checked()
    pixels = cut_out(images)
    posed = optimization.PosedImages(pixels, Cameras(*(np.asarray(leaf, np.float32) for leaf in cameras)))
    start = optimization.from_gaussians(gaussians, capacity, 0)
    *_, last = optimization.fit(posed, optimization.initial_state(*start), config)
    return optimization.used_gaussians(last.state.parameters, last.state.is_used)


def cut_out(images: Float[np.ndarray, "v s s 3"]) -> np.ndarray:
    """Returns pictures on white as bytes with an alpha: what is white is taken for background."""
    alpha = (images.min(axis=-1, keepdims=True) < 1 - _CLEAR).astype(np.float32)
    return np.round(np.concatenate([np.clip(images, 0, 1) * alpha, alpha], axis=-1) * 255).astype(np.uint8)


if __name__ == "__main__":
    main()
