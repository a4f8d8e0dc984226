"""Any splat file by its suffix; test_other_readers.py asks other tools."""

import shutil

import numpy as np
import pytest

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import Gaussians
from diffgs_jax.interop import read_gaussians, write_gaussians


def random_gaussians(count=300, degree=0, seed=0):
    draw = np.random.default_rng(seed)
    return Gaussians(
        means=draw.normal(size=(count, 3)).astype(np.float32),
        rotations=draw.normal(size=(count, 4)).astype(np.float32),
        scales=np.exp(draw.normal(-3, 1, (count, 3))).astype(np.float32),
        opacities=draw.uniform(0.01, 0.99, count).astype(np.float32),
        sh=draw.uniform(-0.9, 0.9, size=(count, (degree + 1) ** 2, 3)).astype(np.float32),
    )


@pytest.mark.parametrize("suffix", [".ply", ".spz", ".splat", ".glb", ".PLY"])
def test_suffix_decides(tmp_path, suffix):
    gaussians = random_gaussians(20)
    assert write_gaussians(tmp_path / f"a{suffix}", gaussians) == 20
    back = read_gaussians(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(back.means, gaussians.means, atol=1e-3)
    np.testing.assert_allclose(back.opacities, gaussians.opacities, atol=0.03)
    magic = {".ply": b"ply\n", ".spz": b"NGSP", ".glb": b"glTF", ".splat": gaussians.means[0].tobytes()}[suffix.lower()]
    assert (tmp_path / f"a{suffix}").read_bytes().startswith(magic)


def test_unknown_suffixes_and_swapped_files(tmp_path):
    for name in ("a.obj", "a", "a.ply.gz"):
        with pytest.raises(UserError, match=r"\.ply, \.spz, \.splat, \.sog, \.glb"):
            write_gaussians(tmp_path / name, random_gaussians(2))
        with pytest.raises(UserError, match=r"\.ply, \.spz, \.splat, \.sog, \.glb"):
            read_gaussians(tmp_path / name)
    assert not list(tmp_path.iterdir())
    write_gaussians(tmp_path / "a.ply", random_gaussians(3))
    for suffix in (".spz", ".splat"):
        shutil.copy(tmp_path / "a.ply", tmp_path / f"b{suffix}")
        with pytest.raises(DataError):
            read_gaussians(tmp_path / f"b{suffix}")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numbers that overflow are no news in a corrupt file
@pytest.mark.parametrize("suffix", [".ply", ".spz", ".splat", ".glb"])
def test_corrupt_files_are_read_or_refused(tmp_path, suffix):
    """Cut, or with bytes changed anywhere: there is an answer or one clear line, never another error."""
    path = tmp_path / f"a{suffix}"
    write_gaussians(path, random_gaussians(4, degree=0 if suffix == ".splat" else 1))
    whole = path.read_bytes()
    draw = np.random.default_rng(1)
    refused = 0
    for trial in range(300):
        content = bytearray(whole)
        for _ in range(draw.integers(0, 4)):
            content[draw.integers(0, min(len(content), 600))] = draw.integers(0, 256)
        content = bytes(content[: draw.integers(0, len(content))] if trial % 3 == 0 else content)
        path.write_bytes(content)
        try:
            gaussians = read_gaussians(path)
            assert len({len(leaf) for leaf in gaussians}) == 1
        except DataError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 50


def a_program(folder, script):
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("suffix", [".compressed.ply", ".sog"])
def test_formats_of_another_program(tmp_path, monkeypatch, suffix):
    """The program is called as its manual says, by way of a plain .ply; this one copies."""
    monkeypatch.setenv(
        "SPLAT_TRANSFORM", a_program(tmp_path, '[ "$1$2$3$4" = --quiet--overwrite--gpucpu ] && cp "$5" "$6"')
    )
    gaussians = random_gaussians(5)
    assert write_gaussians(tmp_path / f"a{suffix}", gaussians) == 5
    assert (tmp_path / f"a{suffix}").read_bytes().startswith(b"ply\n")
    np.testing.assert_allclose(read_gaussians(tmp_path / f"a{suffix}").means, gaussians.means)


def test_another_program_that_is_missing_or_fails(tmp_path, monkeypatch):
    monkeypatch.delenv("SPLAT_TRANSFORM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("a.sog", "a.compressed.ply"):
        with pytest.raises(UserError, match="npm install"):
            write_gaussians(tmp_path / name, random_gaussians(2))
        with pytest.raises(UserError, match="npm install"):
            read_gaussians(tmp_path / name)
    monkeypatch.setenv("SPLAT_TRANSFORM", str(tmp_path / "nothing"))
    with pytest.raises(UserError, match="cannot run"):
        write_gaussians(tmp_path / "a.sog", random_gaussians(2))
    monkeypatch.undo()
    monkeypatch.setenv("SPLAT_TRANSFORM", a_program(tmp_path, "echo it is broken >&2; exit 3"))
    (tmp_path / "b.sog").write_bytes(b"nothing")
    with pytest.raises(DataError, match="b.sog is damaged, or no .sog file: it is broken"):
        read_gaussians(tmp_path / "b.sog")
    with pytest.raises(UserError, match="cannot read"):
        read_gaussians(tmp_path / "c.sog")
    assert not (tmp_path / "a.sog").exists()
