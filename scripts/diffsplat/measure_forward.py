"""What one pass of a published denoiser costs in bfloat16: seconds and memory, with random weights.

    /usr/bin/time -v python scripts/diffsplat/measure_forward.py --backbone sd35m

Weights are made one after another in bfloat16 and nothing else is kept: the peak is that of the weights and the pass,
four views of 32 × 32 latents, a prompt as long as the published one.
"""

import dataclasses
import functools
import math
import resource
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import report_errors
from diffgs_jax.models.counting import parameter_count
from diffgs_jax.models.diffsplat import Backbone, MMDiTConfig, PixArtConfig, published_diffsplat
from diffgs_jax.models.diffsplat.conditions import TextFeatures
from diffgs_jax.models.diffsplat.config import input_channels, network_settings, pooled_width
from diffgs_jax.models.diffsplat.network import apply_denoiser, param_shapes


@dataclasses.dataclass(frozen=True)
class MeasureForwardConfig:
    """What is measured."""

    backbone: Backbone = "sd35m"
    """The base model."""
    views: int = 4
    """Views of an object."""
    passes: int = 1
    """How often, after the first one, which compiles."""


def main(options: MeasureForwardConfig) -> None:
    """Runs the command line."""
    config = published_diffsplat(options.backbone)
    networks = {
        name: dataclasses.replace(getattr(config, name), dtype="bfloat16") for name in ("unet", "pixart", "mmdit")
    }
    config, random = dataclasses.replace(config, **networks), np.random.default_rng(0)
    settings, shapes = network_settings(config), param_shapes(config)

    def half(path: tuple[Any, ...], leaf: Any) -> jax.Array:
        if path[-1].key not in ("kernel", "embedding", "table"):
            return jnp.full(leaf.shape, path[-1].key == "scale", jnp.bfloat16)
        fan = math.prod(leaf.shape[-4:-1]) if len(leaf.shape) >= 4 else leaf.shape[-2]
        return jnp.asarray((random.standard_normal(leaf.shape, np.float32) / math.sqrt(fan)).astype(jnp.bfloat16))

    params = jax.tree_util.tree_map_with_path(half, shapes)
    tokens = 300 if isinstance(settings, PixArtConfig) else 333 if isinstance(settings, MMDiTConfig) else 77
    text = TextFeatures(
        jnp.asarray(random.standard_normal((1, tokens, settings.text_width), np.float32)),
        jnp.ones((1, tokens)) if isinstance(settings, PixArtConfig) else None,
        jnp.zeros((1, pooled_width(config))) if pooled_width(config) else None,
    )
    x = jnp.asarray(random.standard_normal((1, options.views, 32, 32, input_channels(config)), np.float32))
    run = jax.jit(functools.partial(apply_denoiser, config))
    print(f"{options.backbone}: {parameter_count(shapes) / 1e6:.1f} million weights, {_peak():.2f} GB before the pass")
    for number in range(options.passes + 1):
        began, used = time.perf_counter(), time.process_time()
        out = np.asarray(run(params, x, jnp.full(1, 500.0), text))
        name = "with compiling" if not number else "compiled"
        print(
            f"{name}: {time.perf_counter() - began:.1f} s, {time.process_time() - used:.1f} s of processors, "
            f"peak {_peak():.2f} GB, output {out.shape}, finite {bool(np.isfinite(out).all())}",
            flush=True,
        )


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    with report_errors():
        main(parse_options(MeasureForwardConfig, description=__doc__))
