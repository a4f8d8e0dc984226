"""A tiny diffsplat with a U-Net, as a checkpoint, and a ControlNet's settings for it."""

import functools

import jax
import stub_splats

from diffgs_jax.checkpoints import save_weights
from diffgs_jax.config import SamplingConfig, TrainConfig, to_dict
from diffgs_jax.data import DataConfig
from diffgs_jax.geometry import ObjectRig
from diffgs_jax.models import family
from diffgs_jax.models.controlnet import ControlNetModelConfig
from diffgs_jax.models.diffsplat import DiffSplatConfig, FrozenConfig, LatentConfig, TextConfig
from diffgs_jax.models.layers.latent_unet.config import ControlNetConfig, LatentUNetConfig

SIZE, VIEWS = 16, 3
UNET = LatentUNetConfig(inputs=10, channels=(8, 8), blocks=1, depths=(1, 0), heads=(2, 2), groups=4, text_width=8)
CONTROLNET = ControlNetModelConfig(picture="canny", network=ControlNetConfig(UNET, picture_widths=(4, 4, 8)))
BASE = DiffSplatConfig(
    backbone="sd15",
    unet=UNET,
    latents=LatentConfig(downsampling=stub_splats.SHRINKS),
    views=VIEWS,
    text=TextConfig("learned", tokens=4, vocabulary=16, width=8, layers=1, heads=1),
)


def shaken(params):
    """Weights that are not zero anywhere."""
    return jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(leaf.size), leaf.shape), params)


def write_base(folder):
    """Writes the model that is steered, with what it needs, and returns its folder."""
    config = BASE.__class__(**{**vars(BASE), "frozen": FrozenConfig(**stub_splats.write_frozen(folder))})
    settings = TrainConfig(
        model=config,
        data=DataConfig(resolution=SIZE, condition_views=0, noisy_views=VIEWS, novel_views=0),
        rig=ObjectRig(azimuths=(0.0, 120.0, 240.0)),
        sampling=SamplingConfig(guidance=(3.0,)),
    )
    params = shaken(jax.jit(functools.partial(family(config).init, config))(jax.random.key(0)))
    save_weights(folder / "base", 1, params, {"config": to_dict(settings), "counters": {"samples": 0}})
    return str(folder / "base")
