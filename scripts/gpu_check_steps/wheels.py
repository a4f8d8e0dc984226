"""Collects what a machine without a network lacks: wheels, a small training set, and the weights of LPIPS (AlexNet)."""

import io
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable

import numpy as np
from PIL import Image

from diffgs_jax.data import open_store
from diffgs_jax.data.images import encode_webp, resize_premultiplied
from diffgs_jax.data.records import Record, encode_record
from diffgs_jax.data.split import Split
from diffgs_jax.data.store import write_store
from diffgs_jax.errors import UserError
from diffgs_jax.evaluation import spread
from diffgs_jax.models.losses import weights_file

WHEELS = (
    "grain==0.2.18", "array-record==0.8.6", "portpicker==1.6.0", "cloudpickle==3.1.3", "tyro==1.0.17",
    "docstring-parser==0.18.0", "typeguard==4.6.1", "cattrs==26.2.1", "attrs==26.1.0", "beartype==0.23.1",
    "tensorboardX==2.6.5", "lazy_loader==0.6", "jaxtyping==0.3.11", "wadler-lindig==0.1.8",
)  # fmt: skip
"""What a machine with jax, flax, optax, orbax-checkpoint, torch and pytest lacks or may lack, with what that needs."""

GSPLAT = ("gsplat==1.5.3", "ninja==1.13.0", "rich==14.2.0", "markdown-it-py==4.0.0", "mdurl==0.1.2", "pygments==2.19.2")
"""gsplat, with what compiling its CUDA code needs beside nvcc and torch."""

_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
_LIMIT = 7.0  # millions of bytes, for the wheels and for the training set each
_RESOLUTION, _QUALITY = 64, 85
_TEST_SHARE = 0.12


def collect(folder: pathlib.Path, store: pathlib.Path | None, *, gsplat: bool) -> None:
    """Fills a folder with `wheels/`, `training_64/` and `cache/`.

    Args:
        folder: to fill.
        store: record store whose training set is packed; None packs none, and the one in the repository is trained on.
        gsplat: also fetch gsplat's wheel and what its build needs, 9 MB more.

    Raises:
        UserError: if pip finds no wheel, or the wheels are too large.
    """
    wheels = folder / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    download(wheels, WHEELS)
    total = _megabytes(wheels)
    print(f"{wheels}: {len(list(wheels.iterdir()))} wheels, {total:.2f} MB")
    if total > _LIMIT:
        raise UserError(f"the wheels have {total:.1f} MB, more than {_LIMIT:g}")
    if gsplat:
        download(wheels, GSPLAT)
    weights = weights_file("alex")
    if weights.exists():
        (folder / "cache").mkdir(exist_ok=True)
        shutil.copy(weights, folder / "cache" / weights.name)
        print(f"{folder / 'cache' / weights.name}: {weights.stat().st_size / 1e6:.1f} MB")
    if store is not None:
        counts = pack_subset(store, folder / "training_64")
        print(f"{folder / 'training_64'}: {counts}, {_megabytes(folder / 'training_64'):.2f} MB")
    print(f"there: pip install --no-index --no-deps --target extra_packages {wheels}/*.whl")
    print(f"then: PYTHONPATH=.:kernels:extra_packages python scripts/gpu_check.py --out results --extras {folder}")


def download(folder: pathlib.Path, names: tuple[str, ...]) -> None:
    """Has pip download wheels for Python 3.12 on Linux, x86-64, without what they need.

    Raises:
        UserError: with the last line that pip has to say.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", "3.12", "--implementation", "cp", "--dest", str(folder)]
    for name in _PLATFORMS:
        command += ["--platform", name]
    done = subprocess.run([*command, *names], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"pip: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")


def pack_subset(store: pathlib.Path, out: pathlib.Path, limit: float = _LIMIT) -> dict[str, int]:
    """Writes a store of as many objects as fit, spread evenly over each side of the split, at 64².

    Args:
        store: to choose from.
        out: to write.
        limit: millions of bytes, of which the test objects take an eighth.

    Returns:
        How many objects of each side there are.
    """
    splits: dict[str, list[tuple[str, Callable[[], bytes]]]] = {"train": [], "test": []}
    shares: tuple[tuple[Split, float], ...] = (("train", 1.0 - _TEST_SHARE), ("test", _TEST_SHARE))
    for split, share in shares:
        source, room = open_store(store, split), 1e6 * limit * share
        for index in _from_coarse_to_fine(len(source)):
            record = source[index]
            encoded = encode_record(smaller(record))
            if len(encoded) > room:
                break
            room -= len(encoded)
            splits[split].append((record.uid, lambda encoded=encoded: encoded))
    index = open_store(store, "train").index
    kept = {name: index[name] for name in ("name", "source", "license", "renderer", "split") if name in index}
    write_store(out, splits, kept | {"subset_of": store.name, "resolution": _RESOLUTION})
    return {split: len(records) for split, records in splits.items()}


def smaller(record: Record) -> Record:
    """Returns a record without maps, its images at 64²."""

    def smaller_image(encoded: bytes) -> bytes:
        with Image.open(io.BytesIO(encoded)) as image:
            small = resize_premultiplied(image.convert("RGBA").convert("RGBa"), _RESOLUTION)
        return encode_webp(np.asarray(small.convert("RGBA")), quality=_QUALITY)

    return record._replace(images=[smaller_image(one) for one in record.images], maps={})


def _from_coarse_to_fine(count: int) -> list[int]:
    """Returns all indices so that the first few of them are spread evenly, however many are taken."""
    seen: dict[int, None] = {}
    several = 1
    while len(seen) < count:
        several = min(2 * several, count)
        seen |= dict.fromkeys(spread(count, several))
    return list(seen)


def _megabytes(folder: pathlib.Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
