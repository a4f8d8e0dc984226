"""Packs a published checkpoint into one small file that is easy to carry, and unpacks it again.

    python scripts/pack_checkpoint.py --checkpoint my_model --out my_model.packed --megabytes 8
    python scripts/pack_checkpoint.py --unpack my_model.packed --out my_model

The weights' exponents, which are alike, are coded by their frequency (Huffman); signs and mantissas, which nothing
compresses, are stored bit beside bit. Seven bits of mantissa are bfloat16 as it is published; where that is too large a
file, bits are rounded away.
"""

import dataclasses
import io
import json
import pathlib
import zipfile
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffgs_jax import models
from diffgs_jax.checkpoints import latest_step, load_weights, read_metadata, save_weights
from diffgs_jax.config import from_dict
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import DataError, UserError, report_errors
from diffgs_jax.files import new_folder, written_beside

_MANTISSAS = (7, 6, 5, 4)
_LARGEST = 2**30  # weights that a packed file may hold


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to pack or unpack."""

    out: pathlib.Path
    """File to write, or folder to create."""
    checkpoint: pathlib.Path | None = None
    """Folder of a run or of a published checkpoint, to pack."""
    unpack: pathlib.Path | None = None
    """Packed file, to unpack."""
    megabytes: float = 8.0
    """What the file may have at most, millions of bytes."""


def main(arguments: Arguments) -> None:
    """Does one or the other."""
    if (arguments.checkpoint is None) == (arguments.unpack is None):
        raise UserError("give either --checkpoint, to pack it, or --unpack")
    if arguments.checkpoint is not None:
        bits = pack(arguments.checkpoint, arguments.out, int(1e6 * arguments.megabytes))
        size = arguments.out.stat().st_size / 1e6
        print(f"{arguments.out}: {size:.2f} MB, {bits} bits of mantissa (bfloat16 has 7)")
    elif arguments.unpack is not None:
        unpack(arguments.unpack, arguments.out)


def pack(checkpoint: pathlib.Path, out: pathlib.Path, limit: int) -> int:
    """Writes the file, and returns how many bits of mantissa it could keep.

    Args:
        checkpoint: folder of a run or of a published checkpoint.
        out: the file.
        limit: bytes that it may have.

    Raises:
        UserError: if there is no checkpoint, or the file is too large with the fewest bits, or cannot be written.
        DataError: if the checkpoint cannot be read.
    """
    metadata = read_metadata(checkpoint)
    weights = load_weights(checkpoint, _shapes(metadata, str(checkpoint)))
    values = np.concatenate([np.asarray(leaf, np.float32).ravel() for leaf in jax.tree.leaves(weights)])
    kept = {name: metadata.get(name, {}) for name in ("config", "counters")} | {"step": latest_step(checkpoint) or 0}
    for bits in _MANTISSAS:
        packed = _encode(values, bits, kept)
        if len(packed) <= limit:
            with written_beside(out) as beside:
                beside.write_bytes(packed)
            return bits
    raise UserError(f"{values.size} weights do not fit into {limit / 1e6:g} MB")


def unpack(packed: pathlib.Path, out: pathlib.Path) -> None:
    """Makes the published checkpoint again.

    Args:
        packed: the file.
        out: folder to create.

    Raises:
        UserError: if the file cannot be read, or the folder exists.
        DataError: if it is not what `pack` wrote.
    """
    try:
        with np.load(packed, allow_pickle=False) as arrays:
            metadata = json.loads(arrays["metadata"].tobytes())
            values = _decode(arrays["exponents"], arrays["mantissas"], metadata.pop("bits"), metadata.pop("count"))
    except OSError as error:
        raise UserError(f"cannot read {packed}: {error.strerror}") from error
    except (zlib.error, zipfile.BadZipFile, EOFError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{packed} is no packed checkpoint ({error})") from error
    shapes = _shapes(metadata, str(packed))
    leaves, structure = jax.tree.flatten(shapes)
    ends = np.cumsum([leaf.size for leaf in leaves])
    if ends[-1] != values.size:
        raise DataError(f"{packed} holds {values.size} weights, and its model has {ends[-1]}")
    parts = np.split(values, ends[:-1])
    weights = [jnp.asarray(part.reshape(leaf.shape), jnp.bfloat16) for part, leaf in zip(parts, leaves, strict=True)]
    with new_folder(out) as folder:
        step = int(metadata.pop("step"))
        save_weights(folder, step, jax.tree.unflatten(structure, weights), metadata)


def _encode(values: Float[np.ndarray, "n"], bits: int, metadata: dict[str, Any]) -> bytes:
    """Returns the file's content, the mantissas rounded to so many bits."""
    whole = values.view(np.uint32).astype(np.uint64)
    # To nearest, ties to even as bfloat16 does
    words = (whole + (1 << (22 - bits)) - 1 + ((whole >> (23 - bits)) & 1)) >> (23 - bits)
    signed = ((words >> (8 + bits)) << bits) | (words & ((1 << bits) - 1))
    packer = zlib.compressobj(strategy=zlib.Z_HUFFMAN_ONLY)
    exponents = packer.compress(((words >> bits) & 255).astype(np.uint8).tobytes()) + packer.flush()
    planes = np.unpackbits(signed.astype(np.uint8)[:, None], axis=1)[:, 7 - bits :]
    header = json.dumps({**metadata, "bits": bits, "count": values.size}).encode()
    file = io.BytesIO()
    np.savez(
        file,
        metadata=np.frombuffer(header, np.uint8),
        exponents=np.frombuffer(exponents, np.uint8),
        mantissas=np.packbits(planes),
    )
    return file.getvalue()


def _decode(exponents: np.ndarray, mantissas: np.ndarray, bits: int, count: int) -> Float[np.ndarray, "n"]:
    """Returns the weights that `_encode` was given, rounded.

    Raises:
        ValueError: if the parts do not fit together.
    """
    if bits not in _MANTISSAS or not 0 <= count <= _LARGEST:
        raise ValueError(f"{count} weights of {bits} bits")
    known = np.frombuffer(zlib.decompressobj().decompress(exponents.tobytes(), count + 1), np.uint8)
    if len(known) != count:
        raise ValueError(f"{len(known)} exponents of {count} weights")
    planes = np.unpackbits(mantissas, count=count * (bits + 1)).reshape(count, bits + 1)
    signed = np.packbits(np.pad(planes, ((0, 0), (7 - bits, 0))), axis=1)[:, 0].astype(np.uint32)
    sign, mantissa = signed >> bits, signed & ((1 << bits) - 1)
    return ((sign << 31) | (known.astype(np.uint32) << 23) | (mantissa << (23 - bits))).view(np.float32)


def _shapes(metadata: dict[str, Any], source: str) -> Any:
    model = from_dict(metadata["config"], source).model
    return jax.eval_shape(lambda: models.family(model).init(model, jax.random.key(0)))


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Arguments, description=__doc__))
