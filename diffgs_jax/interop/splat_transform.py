"""Splats in formats that another program packs: compressed .ply and .sog, by PlayCanvas's splat-transform (MIT).

Both are quantized and sorted so that neighbours share their ranges; a .sog is a zip of WebP pictures besides. They
change with the program that defines them, so it packs and unpacks them here, by way of a plain .ply.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile

from diffgs_jax.errors import DataError, UserError, printable
from diffgs_jax.files import open_regular, shown, written_beside
from diffgs_jax.geometry import Gaussians
from diffgs_jax.interop.converter import check_converter, converted_suffix
from diffgs_jax.interop.ply import read_ply, write_ply

_PATIENCE = 600  # seconds
_LARGEST_FILE = 2**30  # bytes


def write_converted(path: str | os.PathLike[str], gaussians: Gaussians) -> int:
    """Writes one set of Gaussians as `.compressed.ply` or `.sog`, a tenth to a twentieth of a .ply, in another order.

    Args:
        path: the file; one that is there is replaced when the new one is complete.
        gaussians: without batch axes, `[n, …]`, SH degree 0 to 3, at least one.

    Returns:
        The number of Gaussians written.

    Raises:
        UserError: if the program is not installed, or the file cannot be written.
        DataError: if a value is not finite, or there are no Gaussians.
    """
    program, suffix = check_converter(), converted_suffix(path)
    if not len(gaussians.means):
        raise DataError(f"{path} was not written: there are no Gaussians")
    with tempfile.TemporaryDirectory(prefix="splat-") as folder:
        plain, made = pathlib.Path(folder) / "plain.ply", pathlib.Path(folder) / f"made{suffix}"
        count = write_ply(plain, gaussians)
        _run(program, plain, made, f"cannot write {shown(path)}")
        with written_beside(path) as beside:
            shutil.copyfile(made, beside)
    return count


def read_converted(path: str | os.PathLike[str]) -> Gaussians:
    """Reads a `.compressed.ply` or `.sog`.

    Returns:
        Float32 numpy Gaussians `[n, …]`, activations applied.

    Raises:
        UserError: if the program is not installed, or the file is missing or cannot be read.
        DataError: if it is damaged, too large, or not what its suffix says.
    """
    program, suffix = check_converter(), converted_suffix(path)
    with open_regular(path, limit=_LARGEST_FILE) as opened, tempfile.TemporaryDirectory(prefix="splat-") as folder:
        given, plain = pathlib.Path(folder) / f"given{suffix}", pathlib.Path(folder) / "plain.ply"
        with given.open("wb") as copy:
            shutil.copyfileobj(opened, copy)
        _run(program, given, plain, f"{shown(path)} is damaged, or no {suffix} file")
        return read_ply(plain)


def _run(program: str, source: pathlib.Path, target: pathlib.Path, problem: str) -> None:
    command = [program, "--quiet", "--overwrite", "--gpu", "cpu", str(source), str(target)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PATIENCE, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise UserError(f"cannot run {shown(program)}: {error.strerror or error}") from None
    except subprocess.TimeoutExpired:
        raise DataError(f"{problem}: splat-transform did not end within {_PATIENCE} seconds") from None
    if done.returncode or not target.is_file():
        told = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        reason = printable(told[-1], 200) if told else f"splat-transform ended with code {done.returncode}"
        raise DataError(f"{problem}: {reason}")
