"""Draws the figures of docs/diffusion.md: `python scripts/draw_diffusion.py --out docs/diffusion`.

Everything is computed by the functions that the page names, on targets whose exact denoiser is known; half a minute.
"""

import argparse
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from diffgs_jax.diffusion import (
    Annealing,
    Denoise,
    Prediction,
    Schedule,
    ScheduleConfig,
    add_noise,
    alpha_and_sigma,
    classifier_free_guidance,
    classifier_guidance,
    distillation_gradient,
    distillation_timesteps,
    elbo_weights,
    make_sampler,
    make_schedule,
    posterior,
    sample,
)
from diffgs_jax.errors import report_errors
from diffgs_jax.evaluation import Plot, draw_plots
from diffgs_jax.files import make_folder
from diffgs_jax.interop import load_framed, tile_images, write_image
from diffgs_jax.models.layers import fourier_embedding, sinusoidal_embedding

ROOT = pathlib.Path(__file__).parents[1]
MEANS, WEIGHTS, STD = (-1.0, 0.6), (0.3, 0.7), 0.25
COUNT = 4000


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "diffusion")
    options = parser.parse_args()
    with report_errors():
        out = make_folder(options.out)
        draw_noising(out / "noising.png")
        draw_schedules(out / "schedules.png")
        draw_embeddings(out / "embeddings.png")
        draw_guidance(out / "guidance.png")
        draw_distillation(out / "distillation.png")


def mixture(schedule: Schedule, weights: tuple[float, float] = WEIGHTS) -> Denoise:
    """Returns E[x_0 | x_t] of a mixture of two Gaussians."""

    def denoise(x: Float[Array, "b 1"], t: Num[Array, "b"]) -> Prediction:
        alpha, sigma = alpha_and_sigma(schedule, t, x)
        means = jnp.asarray(MEANS)[None]
        variance = alpha**2 * STD**2 + sigma**2
        away = x - alpha * means
        belief = jax.nn.softmax(jnp.log(jnp.asarray(weights))[None] - away**2 / (2 * variance), axis=1)
        return Prediction(jnp.sum(belief * (means + alpha * STD**2 / variance * away), axis=1, keepdims=True))

    return denoise


def draw_noising(path: pathlib.Path) -> None:
    """Draws one image at rising noise, by three schedules."""
    image = 2 * jnp.asarray(load_framed(ROOT / "assets" / "example.png", resolution=64).image) - 1
    noise = jax.random.normal(jax.random.key(0), image.shape)
    rows = []
    for name in ("linear", "squaredcos_cap_v2", "flow"):
        schedule = make_schedule(ScheduleConfig(name))
        steps = jnp.asarray([0, 100, 300, 600, 999])
        rows.append([(add_noise(schedule, image, t, noise) + 1) / 2 for t in steps])
    write_image(path, tile_images(np.clip(np.asarray(rows), 0, 1)))


def draw_schedules(path: pathlib.Path) -> None:
    """Draws how much signal is left, the two variances of a step, and the weights that training leaves out."""
    at = np.linspace(0, 999, 21).astype(int)
    signal = {
        name: (at.tolist(), make_schedule(ScheduleConfig(name)).alpha[at].tolist())
        for name in ("linear", "squaredcos_cap_v2", "flow")
    }
    linear = make_schedule(ScheduleConfig("linear"))
    early = np.unique(np.geomspace(1, 1000, 25).astype(int)) - 1
    ratio = posterior(linear).variance / linear.betas
    bound = {
        f"bound, {name}": ((early + 1).tolist(), np.log10(elbo_weights(linear, kind)[early]).tolist())
        for name, kind in (("variance beta", "fixed_large"), ("posterior variance", "fixed_small"))
    }
    marks = [0, 250, 500, 750, 1000]
    powers = [1, 10, 100, 1000]
    draw_plots(
        path,
        [
            Plot("alpha: how much signal is left", "t", signal, marks),
            Plot(
                "posterior variance / beta, linear schedule",
                "t + 1",
                {"posterior variance / beta": ((early + 1).tolist(), ratio[early].tolist())},
                powers,
                logarithmic=True,
            ),
            Plot("log10 of the weight of the squared error", "t + 1", bound, powers, logarithmic=True),
        ],
    )


def draw_embeddings(path: pathlib.Path) -> None:
    """Draws the two embeddings of all timesteps, and how alike two times are."""
    times = np.arange(0, 1000, 4)
    rows = []
    for embed in (sinusoidal_embedding, fourier_embedding):
        values = np.asarray(embed(times, 128))
        alike = values @ values.T / 64
        shown = [np.repeat(values, 2, axis=1)[:, :250], alike]
        rows.append([np.repeat((np.clip(one, -1, 1)[..., None] + 1) / 2, 3, axis=2) for one in shown])
    write_image(path, tile_images(np.asarray(rows)))


def histogram(values: np.ndarray) -> tuple[list[float], list[float]]:
    """Returns the middles of bins and the density there."""
    density, edges = np.histogram(values, bins=40, range=(-2.2, 2.2), density=True)
    return ((edges[1:] + edges[:-1]) / 2).tolist(), density.tolist()


def draw_guidance(path: pathlib.Path) -> None:
    """Draws samples of a mixture, guided to its right mode by a classifier and without one."""
    schedule = make_schedule()
    free, right = mixture(schedule), mixture(schedule, (1e-6, 1 - 1e-6))

    def log_probability(x: Float[Array, "b 1"], t: Num[Array, "b"]) -> Float[Array, "b"]:
        alpha, sigma = alpha_and_sigma(schedule, t, x)
        squares = (x - alpha * jnp.asarray(MEANS)[None]) ** 2 / (2 * (alpha**2 * STD**2 + sigma**2))
        return jax.nn.log_softmax(jnp.log(jnp.asarray(WEIGHTS))[None] - squares, axis=1)[:, 1]

    start = jax.random.normal(jax.random.key(0), (COUNT, 1))
    sampler = make_sampler(schedule, "dpm", 60)

    @jax.jit
    def by_classifier(scale: Array) -> Array:
        return sample(classifier_guidance(free, log_probability, schedule, scale), sampler, None, start).x0

    @jax.jit
    def without(scale: Array) -> Array:
        return sample(classifier_free_guidance(right, free, scale), sampler, None, start).x0

    marks = [-2, -1, 0, 1, 2]
    plots = []
    for title, run in (("classifier guidance", by_classifier), ("classifier-free guidance", without)):
        lines = {f"scale {scale:g}": histogram(np.asarray(run(jnp.float32(scale)))) for scale in (0.0, 1.0, 4.0)}
        plots.append(Plot(f"{title}: density of samples", "x_0", lines, marks))
    draw_plots(path, plots)


def draw_distillation(path: pathlib.Path) -> None:
    """Draws the mean gradient on a Gaussian, with and without the network's Jacobian, and where descent ends."""
    schedule, mean, s = make_schedule(), 0.0, 0.4
    rows = np.linspace(20, 980, 17).astype(int)
    x = jnp.full((COUNT, 1), 1.0)
    noise = jax.random.normal(jax.random.key(0), (COUNT, 1))

    def gaussian(x: Float[Array, "b 1"], t: Num[Array, "b"]) -> Prediction:
        alpha, sigma = alpha_and_sigma(schedule, t, x)
        return Prediction(mean + alpha * s**2 / (alpha**2 * s**2 + sigma**2) * (x - alpha * mean))

    @jax.jit
    def means(row: Array) -> tuple[Array, Array]:
        t = jnp.full(COUNT, row)

        def of(keep: bool) -> Array:
            told = distillation_gradient(gaussian, schedule, x, t, noise, weight="one", keep_jacobian=keep)
            return jnp.mean(told.gradient)

        return of(False), of(True)

    found = np.asarray([means(row) for row in rows])
    alpha, sigma = schedule.alpha[rows], schedule.sigma[rows]
    exact = sigma * alpha / (alpha**2 * s**2 + sigma**2)
    lines = {
        "formula": (rows.tolist(), exact.tolist()),
        "mean of 4000 draws": (rows.tolist(), found[:, 0].tolist()),
        "with the Jacobian": (rows.tolist(), found[:, 1].tolist()),
    }
    plots = [Plot("mean of predicted minus drawn noise", "t", lines, [0, 250, 500, 750, 1000])]
    descents = {
        "t in [0.02, 0.25] T": descend("random", 0.25),
        "t falls from 0.6 T": descend("sqrt", 0.6),
    }
    plots.append(Plot("where descent ends", "where it starts", descents, [-2, -1, 0, 1]))
    draw_plots(path, plots)


def descend(annealing: Annealing, high: float) -> tuple[list[float], list[float]]:
    """Returns starts, and where score distillation takes them with the mixture as prior."""
    schedule = make_schedule()
    denoise, starts = mixture(schedule), jnp.linspace(-2.0, 1.6, 25)[:, None]

    @jax.jit
    def run(x: Array) -> Array:
        def step(index: Array, x: Array) -> Array:
            of_time, of_noise = jax.random.split(jax.random.fold_in(jax.random.key(0), index))
            done = index / 2000
            t = distillation_timesteps(of_time, len(x), schedule, done, annealing=annealing, high=high)
            noise = jax.random.normal(of_noise, x.shape)
            return x - 0.2 * (1 - done) * distillation_gradient(denoise, schedule, x, t, noise).gradient

        return jax.lax.fori_loop(0, 2000, step, x)

    return starts[:, 0].tolist(), np.asarray(run(starts))[:, 0].tolist()


if __name__ == "__main__":
    main()
