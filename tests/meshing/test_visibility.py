"""What cameras see of a mesh, against planes and spheres whose pictures are known."""

import jax.numpy as jnp
import numpy as np

from diffgs_jax.geometry import Cameras, intrinsics_from_fov, look_at
from diffgs_jax.meshing import VisibleSurface, see_surface, show_texture

SIDE = 16
AT = np.asarray([[2.0, 0.0, 0.0]])
CAMERA = Cameras(look_at(AT), np.asarray(intrinsics_from_fov(50.0))[None])


def wall(x, size, shift=0.0):
    """A square across the view axis: its corners, u to the right and v up as the camera sees it."""
    corners = size * np.asarray([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    # A camera at +x that looks at the origin has +y on its right
    vertices = np.stack([np.full(4, x), corners[:, 0], corners[:, 1]], axis=-1)
    uv = (corners / size + 1) / 2 * (1 - shift) + shift
    return vertices, np.asarray([[0, 1, 2], [0, 2, 3]], np.int32), uv


def test_a_wall_shows_its_texture_where_perspective_has_it_and_hides_what_is_behind():
    near, far = wall(0.0, 0.4), wall(-1.0, 3.0)
    vertices, uv = np.concatenate([far[0], near[0]]), np.concatenate([far[2], near[2]])
    faces = np.concatenate([far[1], 4 + near[1]])
    seen = see_surface(vertices, faces, uv, CAMERA, SIDE)
    rows, columns = np.mgrid[:32, :32] + 0.5
    focal = 0.5 / np.tan(np.radians(25.0))
    # Rays meet a wall at distance d where y = (column / 32 − ½) · d / f, z = −(row / 32 − ½) · d / f
    y, z = ((columns / 32 - 0.5) / focal, -(rows / 32 - 0.5) / focal)
    inside = (np.abs(2 * y) < 0.4) & (np.abs(2 * z) < 0.4)
    u = np.where(inside, (2 * y / 0.4 + 1) / 2, (3 * y / 3.0 + 1) / 2)
    v = np.where(inside, (2 * z / 0.4 + 1) / 2, (3 * z / 3.0 + 1) / 2)
    assert seen.covered.all()
    edge = np.abs(np.maximum(np.abs(2 * y), np.abs(2 * z)) - 0.4) < 0.03
    np.testing.assert_allclose(seen.uv[0, ..., 0][~edge], u[~edge], atol=1e-5)
    np.testing.assert_allclose(seen.uv[0, ..., 1][~edge], v[~edge], atol=1e-5)


def test_what_is_shown_is_linear_in_the_texture_and_white_beside_it():
    vertices, faces, uv = wall(0.0, 0.4)
    seen = see_surface(vertices, faces, uv, CAMERA, SIDE)
    down = np.broadcast_to((np.arange(64) + 0.5)[:, None, None] / 64, (64, 64, 3))
    image = np.asarray(show_texture(jnp.asarray(down, jnp.float32), seen, 1.0))[0]
    assert image[0, 0, 0] == 1 and seen.covered[0, 0, 0] == 0
    # A ramp is a ramp again: its slope is one wall's height, 0.8, in 16 pixels of 2 · 2 · tan 25°
    middle = image[:, SIDE // 2, 0]
    inside = np.abs((np.arange(SIDE) + 0.5) / SIDE - 0.5) * 4 * np.tan(np.radians(25.0)) < 0.3
    np.testing.assert_allclose(np.diff(middle[inside]), 4 * np.tan(np.radians(25.0)) / SIDE / 0.8, atol=1e-4)
    other = np.asarray(show_texture(jnp.asarray(1 - down, jnp.float32), seen, 1.0))[0]
    np.testing.assert_allclose(image[5:11, 8] + other[5:11, 8], 1.0, atol=1e-5)
    assert isinstance(seen, VisibleSurface)


def test_what_is_behind_the_camera_is_not_drawn():
    vertices, faces, uv = wall(3.0, 0.4)
    assert not see_surface(vertices, faces, uv, CAMERA, SIDE).covered.any()
