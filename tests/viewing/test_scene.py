"""What viser is given, and what it serves."""

import re
import socket
import urllib.request

import numpy as np
import pytest
import trimesh

pytest.importorskip("viser", reason='the viewer needs pip install "diffgs_jax[view]"')

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import ObjectRig, condition_camera
from diffgs_jax.viewing import MeshFile, start_camera, viewer_page, viewer_server


def box():
    mesh = trimesh.creation.box((1, 2, 3))
    return MeshFile(mesh.export(file_type="glb"), mesh.vertices.astype(np.float32), len(mesh.faces))


def given(server):
    """Decodes what the server holds for browsers: 8 words for each Gaussian."""
    words = server.scene.get_handle_by_name("/splat").buffer.reshape(-1, 8)
    centers = words[:, :3].copy().view(np.float32)
    upper = words[:, 4:7].copy().view(np.float16).astype(np.float64)
    colors = words[:, 7:].copy().view(np.uint8) / 255
    return centers, upper, colors


def test_what_a_splat_becomes(gaussians):
    turned = gaussians._replace(
        rotations=np.tile(np.asarray([[0, 0, 0, 2]], np.float32), (200, 1)),  # half a turn about z
        scales=np.tile(np.asarray([[0.1, 0.2, 0.3]], np.float32), (200, 1)),
    )
    with viewer_server(turned, port=0) as server:
        centers, upper, colors = given(server)
    np.testing.assert_array_equal(centers, gaussians.means)
    np.testing.assert_allclose(upper, np.tile([[0.01, 0, 0, 0.04, 0, 0.09]], (200, 1)), atol=1e-4)
    np.testing.assert_allclose(colors[:2], [[0.1, 0.1, 0.9, 0.9], [0.9, 0.1, 0.1, 0.9]], atol=0.003)


def test_what_no_rasterizer_draws_is_not_sent(gaussians):
    faint = gaussians._replace(opacities=np.where(np.arange(200) < 50, 0.003, 0.9).astype(np.float32))
    with viewer_server(faint, port=0) as server:
        assert len(given(server)[0]) == 150


@pytest.mark.parametrize("viewable", ["splat", "mesh"])
def test_the_server_answers_until_it_is_stopped(gaussians, viewable, capfd):
    with viewer_server(gaussians if viewable == "splat" else box(), port=0, title="a <file>.ply") as server:
        address = f"http://127.0.0.1:{server.get_port()}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert answer.status == 200 and b"<html" in answer.read(2000).lower()
    with pytest.raises(OSError):
        urllib.request.urlopen(address, timeout=2)
    assert capfd.readouterr().out == ""


def test_a_port_that_is_taken_is_one_line(gaussians):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port}.*--port"), viewer_server(gaussians, port=port):
            pass


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", -1), ("127.0.0.1", 70000), ("no.such.host.invalid", 0)])
def test_impossible_addresses(gaussians, host, port):
    with pytest.raises(UserError), viewer_server(gaussians, host=host, port=port):
        pass


def test_the_page_needs_nothing_else(gaussians):
    page = viewer_page(gaussians)
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page)
    assert not re.findall(r"https?://(?!www\.w3\.org)[\w.-]+", page)
    assert len(page) < 2e6
    many = gaussians._replace(**{name: np.concatenate([leaf] * 20) for name, leaf in gaussians._asdict().items()})
    assert len(viewer_page(many)) - len(page) < 45 * 19 * 200


def test_the_rig_puts_the_camera_where_the_picture_was_taken(gaussians):
    rig = ObjectRig(elevation=35.0, distance=3.1, fov=40.0)
    start = start_camera(gaussians, rig=rig)
    np.testing.assert_allclose(start.position, condition_camera(rig).camera_to_world[0, :3, 3], atol=1e-6)
    assert start.fov == 40


@pytest.mark.parametrize("up", ["z", "y", "-y"])
def test_the_start_camera_sees_all_of_it_from_a_little_above(gaussians, up):
    moved = gaussians._replace(means=7 * gaussians.means + np.asarray([[1, 2, 3]], np.float32))
    start = start_camera(moved, up=up)
    forward = (start.target - start.position) / np.linalg.norm(start.target - start.position)
    assert forward @ start.up == pytest.approx(-np.sin(np.deg2rad(20)))
    offset = moved.means - start.position
    angle = np.arccos(offset @ forward / np.linalg.norm(offset, axis=1))
    assert np.mean(angle < np.deg2rad(start.fov / 2)) > 0.97
    assert angle.max() > np.deg2rad(start.fov / 6)  # and it is not far away


def test_a_single_gaussian_has_a_camera(gaussians):
    one = type(gaussians)(*(leaf[:1] for leaf in gaussians))
    assert np.isfinite(start_camera(one).position).all()
