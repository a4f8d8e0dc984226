"""Tiny published networks of the golden files, in this project's terms."""

import functools
import pathlib

import jax.numpy as jnp
import numpy as np
from exact_arrays import load_exact

from diffgs_jax.models.diffsplat import DiffSplatConfig, ImageConfig, LatentConfig, MMDiTConfig, PixArtConfig
from diffgs_jax.models.diffsplat.conditions import TextFeatures
from diffgs_jax.models.diffsplat.published import read_published
from diffgs_jax.models.layers.latent_unet.config import LatentUNetConfig
from diffgs_jax.weights import nested, tensors_of

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
UNET = LatentUNetConfig(channels=(16, 24, 32, 32), heads=(4, 4, 4, 4), groups=8, text_width=32)
PIXART = PixArtConfig(layers=2, heads=4, head_width=8, text_width=40, position_base=8)
SD3 = MMDiTConfig(layers=3, heads=4, head_width=8, text_width=40, pooled_width=24, position_side=24, position_base=32)
SD35 = MMDiTConfig(
    layers=3,
    heads=4,
    head_width=8,
    text_width=40,
    pooled_width=24,
    qk_norm=True,
    dual_layers=2,
    position_side=24,
    position_table="stored",
)


@functools.cache
def golden(name):
    """The arrays of a golden file."""
    if name == "unet_sd15":
        return load_exact(GOLDEN / f"diffsplat_{name}.npz")
    with np.load(GOLDEN / f"diffsplat_{name}.npz") as file:
        return {key: file[key] for key in file.files}


def config_of(name, kind):
    """Settings of a network of a file, `text` or `image`."""
    backbone, channels = {
        "unet_sd15": ("sd15", 4),
        "pixart": ("pixart_sigma", 4),
        "sd3": ("sd3m", 16),
        "sd35": ("sd35m", 16),
    }[name]
    return DiffSplatConfig(
        backbone=backbone,
        unet=UNET,
        pixart=PIXART,
        mmdit=SD35 if name == "sd35" else SD3,
        latents=LatentConfig(channels=channels),
        image=ImageConfig("vae" if kind == "image" else "none"),
        plucker="official",
        published_samplers=True,
    )


def state_dict(name, kind):
    """The published state dict of a network of a file."""
    arrays = golden(name)
    tensors = {key.removeprefix("sd/"): array for key, array in arrays.items() if key.startswith("sd/")}
    # The two files have one table of positions
    if name == "sd35":
        tensors["pos_embed.pos_embed"] = golden("sd3")["sd/pos_embed.pos_embed"]
    if kind == "image":
        wider = "conv_in.weight" if name == "unet_sd15" else "pos_embed.proj.weight"
        tensors[wider] = arrays[f"image/{wider}"]
    return tensors


def params_of(name, kind):
    """Its weights, as imported."""
    config = config_of(name, kind)
    return nested(read_published(config, tensors_of(state_dict(name, kind))))


def last(array):
    """Channels last."""
    return np.moveaxis(array, -3, -1)


def text_of(name):
    """The prompts of a file."""
    arrays = golden(name)
    mask, pooled = (None if arrays.get(key) is None else jnp.asarray(arrays[key]) for key in ("text_mask", "pooled"))
    return TextFeatures(jnp.asarray(arrays["text"]), mask, pooled)


def difference(ours, theirs):
    """The largest difference over the largest value."""
    return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()
