"""Where the weights of LPIPS are kept, and that they are the right ones.

Nothing here reaches for the network: `scripts/fetch_lpips.py` puts the files into the user's cache, once.
"""

import pathlib
import zipfile

import numpy as np

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import CACHE_VARIABLE, arrays_sha256, cache_folder, make_folder, written_beside
from diffgs_jax.models.losses.lpips import LPIPSNetwork, LPIPSWeights

FETCH_COMMAND = "python scripts/fetch_lpips.py"

# Of the arrays, not of the file, whose bytes depend on the version of NumPy that wrote it.
_PUBLISHED: dict[LPIPSNetwork, str] = {
    "vgg": "53f82b614acf7eb5197f207f213975ca341f5ef7b069a858e7045cab0b688c10",
    "alex": "2333fcca1464fdc44f9411ffcb38dd9e7cf7d56c4c1065c29a4d0f166049625d",
}


def weights_file(network: LPIPSNetwork) -> pathlib.Path:
    """Returns the path of a network's weights, whether they are there or not."""
    return cache_folder() / f"lpips_{network}.npz"


def is_installed(network: LPIPSNetwork) -> bool:
    """Tells whether a network's weights are in the cache."""
    return weights_file(network).is_file()


def load_lpips(network: LPIPSNetwork) -> LPIPSWeights:
    """Reads a network's weights from the cache and checks that they are the published ones.

    Returns:
        NumPy arrays, float32: 59 MB for `vgg`, 10 MB for `alex`.

    Raises:
        UserError: if they are not there; says the command that fetches them.
        DataError: if the file is damaged or holds something else.
    """
    path = weights_file(network)
    again = f"delete it and run: {FETCH_COMMAND}"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(f"the weights of LPIPS ({network}) are not in {path.parent}; run: {FETCH_COMMAND}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error}); {again}") from error
    weights = {
        part: tuple(arrays.get(f"{part}/{index}", np.zeros(0)) for index in range(_count(arrays, part)))
        for part in ("kernels", "biases", "heads")
    }
    if arrays_sha256(weights) != _PUBLISHED[network]:
        raise DataError(f"{path} does not hold the published weights; {again}")
    return weights


def save_lpips(network: LPIPSNetwork, weights: LPIPSWeights) -> pathlib.Path:
    """Writes a network's weights to the cache, whole or not at all, and returns the file's path.

    Raises:
        DataError: if they are not the published ones.
        UserError: if the cache cannot be written.
    """
    if arrays_sha256(weights) != _PUBLISHED[network]:
        raise DataError(f"these are not the published weights of LPIPS ({network})")
    path = weights_file(network)
    arrays = {f"{part}/{index}": array for part, group in weights.items() for index, array in enumerate(group)}
    try:
        make_folder(path.parent)
        with written_beside(path) as beside:
            np.savez(beside, **arrays)
    except UserError as error:
        raise UserError(f"{error}: {CACHE_VARIABLE} names another folder for the cache") from error
    return path


def _count(arrays: dict[str, np.ndarray], part: str) -> int:
    return sum(name.startswith(f"{part}/") for name in arrays)
