"""Writes a T5-XXL encoder of full size with random weights, in shards, to measure what a prompt costs.

    python scripts/diffsplat/random_t5.py --tokenizer tests/golden/spiece.model --out runs/random_t5
    /usr/bin/time -v python scripts/embed_prompts.py --model runs/random_t5 --prompts prompts.txt --out prompts.npz

9.5 GB in bfloat16; all blocks have the same numbers. It says nothing of any text.
"""

import dataclasses
import json
import pathlib
import shutil

import jax
import ml_dtypes
import numpy as np
from safetensors.numpy import save_file
from tqdm import tqdm

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import report_errors
from diffgs_jax.files import new_folder
from diffgs_jax.models.layers.text_encoders import T5_NAMES, T5Config, t5_shapes
from diffgs_jax.weights import write_params


@dataclasses.dataclass(frozen=True)
class RandomT5Config:
    """Where to, and whose words."""

    tokenizer: pathlib.Path
    """A `spiece.model`, of any vocabulary that is not larger than T5's."""
    out: pathlib.Path
    """Folder to create, in the layout of PixArt's."""


def main(options: RandomT5Config) -> None:
    """Runs the command line."""
    config, random = T5Config(), np.random.default_rng(0)
    shapes = t5_shapes(dataclasses.replace(config, layers=1))

    def drawn(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        values = random.standard_normal(leaf.shape, np.float32) * 0.02
        return values.astype(ml_dtypes.bfloat16)

    with new_folder(options.out, overwrite=False) as folder:
        encoder = folder / "text_encoder"
        encoder.mkdir()
        (folder / "tokenizer").mkdir()
        shutil.copy(options.tokenizer, folder / "tokenizer" / "spiece.model")
        block = dict(write_params(jax.tree.map(drawn, shapes), T5_NAMES))
        placed = {}
        for number in tqdm(range(config.layers), unit="block", disable=None):
            file = f"model-{number + 1:05d}-of-{config.layers:05d}.safetensors"
            tensors = {name.replace("block.0.", f"block.{number}."): array for name, array in block.items()}
            if number:  # what there is once is in the first file
                kept = [name for name in block if ".block.0." in name and "relative_attention_bias" not in name]
                tensors = {name.replace("block.0.", f"block.{number}."): block[name] for name in kept}
            save_file(tensors, encoder / file)
            placed |= dict.fromkeys(tensors, file)
        (encoder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
        settings = {
            "model_type": "t5",
            "vocab_size": config.vocabulary,
            "d_model": config.width,
            "d_kv": config.head_width,
            "d_ff": config.hidden,
            "num_layers": config.layers,
            "num_heads": config.heads,
            "feed_forward_proj": "gated-gelu",
        }
        (encoder / "config.json").write_text(json.dumps(settings))
    print(f"{options.out}: random weights of T5-XXL's encoder")


if __name__ == "__main__":
    with report_errors():
        main(parse_options(RandomT5Config, description=__doc__))
