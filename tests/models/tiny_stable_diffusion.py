"""A Stable Diffusion of random weights and next to no size, in the layout of diffusers, and its autoencoder."""

import json

import jax
import numpy as np
import safetensors.numpy

from diffgs_jax.checkpoints import save_weights
from diffgs_jax.config import TrainConfig, to_dict
from diffgs_jax.models import family
from diffgs_jax.models.gsvae import AutoencoderConfig, GSVAEConfig, TinyDecoderConfig
from diffgs_jax.models.layers.latent_unet.config import LatentUNetConfig
from diffgs_jax.models.layers.latent_unet.network import latent_unet_shapes
from diffgs_jax.models.layers.latent_unet.published import UNET_NAMES
from diffgs_jax.models.layers.text_encoders import CLIP_NAMES, CLIPTextConfig, clip_shapes
from diffgs_jax.weights import write_params

AUTOENCODER = GSVAEConfig(
    network=AutoencoderConfig(channels=3, latents=2, widths=(4, 4), blocks=1, groups=2), tiny=TinyDecoderConfig(width=0)
)
UNET = LatentUNetConfig(
    inputs=2, outputs=2, channels=(8, 8), blocks=1, depths=(1, 0), heads=(2, 2), groups=4, text_width=8
)
TEXT = CLIPTextConfig(vocabulary=100, width=8, hidden=16, layers=1, heads=2, end_token=99)


def write_autoencoder(folder):
    """Writes the checkpoint of an autoencoder that halves images, and returns its folder."""
    metadata = {"config": to_dict(TrainConfig(model=AUTOENCODER)), "counters": {"samples": 0}}
    params = jax.jit(lambda key: family(AUTOENCODER).init(AUTOENCODER, key))(jax.random.key(0))
    save_weights(folder, 1, params, metadata)
    return str(folder)


def random_params(shapes, seed):
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: 0.1 * random.normal(size=leaf.shape).astype(np.float32), shapes)


def write_folder(folder, prediction="epsilon"):
    """Writes U-Net, text encoder, tokenizer and scheduler; returns the parameters of the first two."""
    parts = {
        "unet": (random_params(latent_unet_shapes(UNET), 0), UNET_NAMES),
        "text_encoder": (random_params(clip_shapes(TEXT), 1), CLIP_NAMES),
    }
    described = {
        "unet": {
            "in_channels": 2,
            "out_channels": 2,
            "block_out_channels": [8, 8],
            "layers_per_block": 1,
            "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
            "attention_head_dim": 2,
            "norm_num_groups": 4,
            "cross_attention_dim": 8,
            "sample_size": 8,
        },
        "text_encoder": {
            "model_type": "clip_text_model",
            "vocab_size": 100,
            "hidden_size": 8,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "eos_token_id": 99,
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    for name, (params, naming) in parts.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(described[name]))
        tensors = {key: np.ascontiguousarray(value) for key, value in write_params(params, naming)}
        safetensors.numpy.save_file(tensors, folder / name / "model.safetensors")
    (folder / "vae").mkdir()
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps({"prediction_type": prediction}))
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    signs = ["!", "a", "c", "t", "a</w>", "c</w>", "t</w>", "ca", "cat</w>"]
    words = {sign: number for number, sign in enumerate(signs)} | {"<|startoftext|>": 98, "<|endoftext|>": 99}
    (tokenizer / "vocab.json").write_text(json.dumps(words))
    (tokenizer / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    return parts["unet"][0], parts["text_encoder"][0]
