"""Any splat file by its suffix, held against another tool, `splat-transform` (npm install @playcanvas/splat-transform).

It is looked for on the PATH and where SPLAT_TRANSFORM points, and never downloaded. It packs .spz by the format's
reference implementation.
"""

import gzip
import os
import shutil
import subprocess

import numpy as np
import plyfile
import pytest

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import Gaussians
from diffgs_jax.interop import read_gaussians, write_gaussians

TOOL = os.environ.get("SPLAT_TRANSFORM") or shutil.which("splat-transform")
needs_tool = pytest.mark.skipif(TOOL is None, reason="splat-transform is not installed")


def random_gaussians(count=300, degree=0, seed=0):
    draw = np.random.default_rng(seed)
    return Gaussians(
        means=draw.normal(size=(count, 3)).astype(np.float32),
        rotations=draw.normal(size=(count, 4)).astype(np.float32),
        scales=np.exp(draw.normal(-3, 1, (count, 3))).astype(np.float32),
        opacities=draw.uniform(0.01, 0.99, count).astype(np.float32),
        sh=draw.uniform(-0.9, 0.9, size=(count, (degree + 1) ** 2, 3)).astype(np.float32),
    )


def converted(source, target, *options):
    subprocess.run([TOOL, "-q", "-w", source, *options, target], check=True, capture_output=True, timeout=120)


def unit(quaternions):
    return quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)


@needs_tool
@pytest.mark.parametrize("suffix", [".ply", ".spz", ".splat"])
def test_another_tool_reads_ours(tmp_path, suffix):
    """Its .ply of our file is read by plyfile: nothing of ours is on the way back."""
    gaussians = random_gaussians(degree=0 if suffix == ".splat" else 3)
    source = tmp_path / f"ours{suffix}"
    write_gaussians(source, gaussians)
    converted(source, tmp_path / "theirs.ply")
    (vertex,) = plyfile.PlyData.read(tmp_path / "theirs.ply").elements

    def columns(*names):
        return np.stack([vertex[name] for name in names], -1)

    np.testing.assert_allclose(columns("x", "y", "z"), gaussians.means, atol=1e-3)
    np.testing.assert_allclose(1 / (1 + np.exp(-vertex["opacity"])), gaussians.opacities, atol=0.03)
    np.testing.assert_allclose(columns("f_dc_0", "f_dc_1", "f_dc_2"), gaussians.sh[:, 0], atol=0.02)
    np.testing.assert_allclose(columns("scale_0", "scale_1", "scale_2"), np.log(gaussians.scales), atol=1 / 31)
    rotations = columns("rot_0", "rot_1", "rot_2", "rot_3")
    assert np.abs(np.sum(unit(gaussians.rotations) * unit(rotations), axis=1)).min() > 0.9998
    if suffix != ".splat":
        rest = np.stack([vertex[f"f_rest_{i}"] for i in range(45)], -1).reshape(-1, 3, 15)
        np.testing.assert_allclose(rest, np.swapaxes(gaussians.sh[:, 1:], 1, 2), atol=1 / 15)


@needs_tool
def test_we_read_what_another_tool_wrote(tmp_path):
    gaussians = random_gaussians(degree=2)
    write_gaussians(tmp_path / "ours.ply", gaussians)
    write_gaussians(tmp_path / "ours.spz", gaussians)
    converted(tmp_path / "ours.ply", tmp_path / "theirs.spz", "--spz-version", "3")
    theirs, ours = (gzip.decompress((tmp_path / name).read_bytes()) for name in ("theirs.spz", "ours.spz"))
    assert theirs == ours  # the reference implementation packs the same bytes
    np.testing.assert_allclose(read_gaussians(tmp_path / "theirs.spz").means, gaussians.means, atol=1e-3)


@pytest.mark.parametrize("suffix", [".ply", ".spz", ".splat", ".PLY"])
def test_suffix_decides(tmp_path, suffix):
    gaussians = random_gaussians(20)
    assert write_gaussians(tmp_path / f"a{suffix}", gaussians) == 20
    back = read_gaussians(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(back.means, gaussians.means, atol=1e-3)
    np.testing.assert_allclose(back.opacities, gaussians.opacities, atol=0.03)
    magic = {".ply": b"ply\n", ".spz": b"\x1f\x8b", ".splat": gaussians.means[0].tobytes()}[suffix.lower()]
    assert (tmp_path / f"a{suffix}").read_bytes().startswith(magic)


def test_unknown_suffixes_and_swapped_files(tmp_path):
    for name in ("a.glb", "a", "a.ply.gz"):
        with pytest.raises(UserError, match=r"\.ply, \.spz, \.splat"):
            write_gaussians(tmp_path / name, random_gaussians(2))
        with pytest.raises(UserError, match=r"\.ply, \.spz, \.splat"):
            read_gaussians(tmp_path / name)
    assert not list(tmp_path.iterdir())
    write_gaussians(tmp_path / "a.ply", random_gaussians(3))
    for suffix in (".spz", ".splat"):
        shutil.copy(tmp_path / "a.ply", tmp_path / f"b{suffix}")
        with pytest.raises(DataError):
            read_gaussians(tmp_path / f"b{suffix}")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numbers that overflow are no news in a corrupt file
@pytest.mark.parametrize("suffix", [".ply", ".spz", ".splat"])
def test_corrupt_files_are_read_or_refused(tmp_path, suffix):
    """Cut, or with bytes changed anywhere: there is an answer or one clear line, never another error."""
    path = tmp_path / f"a{suffix}"
    write_gaussians(path, random_gaussians(4, degree=0 if suffix == ".splat" else 1))
    whole = path.read_bytes()
    draw = np.random.default_rng(1)
    refused = 0
    for trial in range(300):
        content = bytearray(gzip.decompress(whole) if suffix == ".spz" and trial % 2 else whole)
        for _ in range(draw.integers(0, 4)):
            content[draw.integers(0, min(len(content), 600))] = draw.integers(0, 256)
        content = bytes(content[: draw.integers(0, len(content))] if trial % 3 == 0 else content)
        path.write_bytes(gzip.compress(content, 1) if suffix == ".spz" and trial % 2 else content)
        try:
            gaussians = read_gaussians(path)
            assert len({len(leaf) for leaf in gaussians}) == 1
        except DataError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 50
