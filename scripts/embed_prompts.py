"""Computes what a published model is conditioned on, for a file of prompts, and writes it to an .npz file.

    python scripts/embed_prompts.py --model stable-diffusion-v1-5 --prompts prompts.txt --out prompts.npz

The folder is a published model in the layout of diffusers; of it only the tokenizers and the text encoders are read.
T5 is run block by block, so that its XXL, 19 GB in float32, takes less than 3 GB of memory. The file holds `prompts`,
`tokens` [prompts, n, width] in float32, and where the model has them `mask` [prompts, n] and `pooled` [prompts, width].
The empty prompt, which guidance leads away from, is the last one, whether it is in the file or not.
"""

import dataclasses
import pathlib
import sys
from typing import Any

import numpy as np
from tqdm import tqdm

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import DataError, UserError, report_errors
from diffgs_jax.files import read_regular, shown, written_beside
from diffgs_jax.models.layers.text_encoders import PromptKind, encode_prompts

_LIMIT = 16 * 2**20  # bytes of a file of prompts


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to encode, by what, and where to."""

    model: pathlib.Path
    """Folder with text_encoder, tokenizer, and more of them with _2 and _3 behind."""
    prompts: pathlib.Path
    """Text in UTF-8, one prompt a line; empty lines are skipped."""
    out: pathlib.Path
    """File to write."""
    kind: PromptKind | None = None
    """Of the model; read off the folder by default."""
    t5_length: int | None = None
    """Tokens of a prompt for T5: 256 for Stable Diffusion 3 and 300 for PixArt by default; PixArt-alpha has 120."""
    t5: bool = True
    """Whether Stable Diffusion 3 is given T5's tokens."""
    clean: bool = True
    """Whether PixArt's captions are cleaned as its pipelines do."""
    overwrite: bool = False
    """Replace `out` if it exists."""


def main(arguments: Arguments) -> None:
    """Runs the command line."""
    if arguments.out.exists() and not arguments.overwrite:
        raise UserError(f"{shown(arguments.out)} exists; add --overwrite to replace it")
    prompts = [*read_prompts(arguments.prompts), ""]
    with tqdm(total=0, unit="block", file=sys.stderr, disable=None) as bar:

        def progress(done: int, all_blocks: int) -> None:
            bar.total = all_blocks
            bar.update(done - bar.n)

        found = encode_prompts(
            arguments.model,
            prompts,
            kind=arguments.kind,
            t5_length=arguments.t5_length,
            use_t5=arguments.t5,
            clean=arguments.clean,
            progress=progress,
        )
    for prompt, count in zip(prompts, found.cut, strict=True):
        if count:
            print(f"{count} tokens too long, and cut: {shown(prompt)}", file=sys.stderr)
    arrays: dict[str, Any] = {"tokens": found.tokens, "mask": found.mask, "pooled": found.pooled}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    with written_beside(arguments.out) as file, file.open("wb") as opened:
        np.savez(opened, prompts=np.array(prompts), **arrays)
    print(f"{arguments.out}: {len(prompts)} prompts, {' × '.join(map(str, found.tokens.shape[1:]))} features each")


def read_prompts(file: pathlib.Path) -> list[str]:
    """Returns the prompts in a file.

    Raises:
        UserError: if there is no such file or no prompt in it.
        DataError: if it is not UTF-8.
    """
    try:
        text = read_regular(file, limit=_LIMIT).decode("utf-8")
    except UnicodeDecodeError:
        raise DataError(f"{shown(file)} is not UTF-8") from None
    prompts = [line.strip() for line in text.splitlines() if line.strip()]
    if not prompts:
        raise UserError(f"there is no prompt in {shown(file)}")
    return prompts


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Arguments, description=__doc__))
