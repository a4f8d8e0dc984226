import numpy as np
import pytest

from diffgs_jax.synthesis.meshes.objects import MeshSource, RenderSettings, render_object
from diffgs_jax.synthesis.meshes.viewpoints import own_elevation, ring_viewpoints


def test_rings_are_where_they_are_asked_for():
    cameras = ring_viewpoints((30.0, -10.0), 4, distance=2.0, fov=60.0)
    x, y, z = cameras.camera_to_world[:, :3, 3].T
    np.testing.assert_allclose(np.degrees(np.arctan2(y, x)) % 360, [0, 90, 180, 270] * 2, atol=1e-4)
    np.testing.assert_allclose(np.degrees(np.arcsin(z / 2.0)), [30] * 4 + [-10] * 4, atol=1e-4)
    # They look at the origin: the world's origin lies on every camera's axis, two units away.
    seen = np.linalg.inv(cameras.camera_to_world.astype(np.float64))[:, :3, 3]
    np.testing.assert_allclose(seen, [[0, 0, 2.0]] * 8, atol=1e-5)
    np.testing.assert_allclose(cameras.intrinsics[:, 0], 0.5 / np.tan(np.radians(30)), rtol=1e-5)


def test_a_ring_is_kept_even_where_a_view_shows_nothing(tmp_path):
    pytest.importorskip("trimesh")
    (tmp_path / "mesh.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 2 3 4\nf 1 3 4\n")

    class Renderer:
        asked = []

        def close(self):
            pass

        def render_surfaces(self, parts, cameras):
            raise NotImplementedError

        def render(self, parts, cameras):
            self.asked.append(cameras)
            pictures = np.full((len(cameras.intrinsics), 8, 8, 4), 255, np.uint8)
            pictures[1] = 0
            return pictures

    renderer = Renderer()
    settings = RenderSettings(size=8, views=3, rings=(20.0,))
    record, _ = render_object(MeshSource("mesh", tmp_path / "mesh.obj"), settings, renderer)
    assert len(renderer.asked) == 1 and len(record.images) == 3
    np.testing.assert_array_equal(record.cameras.camera_to_world, ring_viewpoints((20.0,), 3).camera_to_world)


def test_elevations_of_their_own_fill_the_range_and_stay():
    drawn = np.asarray([own_elevation(f"object/{number}", (0.0, 30.0)) for number in range(300)])
    assert 0 <= drawn.min() < 2 and 28 < drawn.max() <= 30 and abs(drawn.mean() - 15) < 4 * 30 / np.sqrt(12 * 300)
    assert own_elevation("object/7", (0.0, 30.0)) == drawn[7] != own_elevation("object/7", (0.0, 30.0), seed=1)
