import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.geometry import (
    Cameras,
    ObjectRig,
    closest_point_to_origin,
    condition_camera,
    denoised_cameras,
    embed_rays,
    intrinsics_from_fov,
    look_at,
    normalize_points,
    orbit,
    pixel_rays,
    spherical_position,
    turn_to_azimuth_zero,
    world_to_camera,
)


def random_poses(count, seed=0):
    rng = np.random.default_rng(seed)
    return look_at(rng.normal(size=(count, 3)) * 3, rng.normal(size=(count, 3)))


def test_look_at_is_a_right_handed_opencv_camera():
    positions = np.array([[2.0, 1.0, 0.5], [0.0, 0.0, 3.0], [0.0, 0.0, -3.0], [-1.0, 0.0, 0.0]])
    poses = look_at(positions)
    rotations = poses[:, :3, :3]
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0, atol=1e-6)
    np.testing.assert_allclose(rotations @ rotations.swapaxes(1, 2), np.tile(np.eye(3), (4, 1, 1)), atol=1e-6)
    # The target is in front, on the optical axis, at its distance.
    target = np.einsum("nij,j->ni", np.linalg.inv(poses), [0.0, 0.0, 0.0, 1.0])
    np.testing.assert_allclose(target[:, :2], 0.0, atol=1e-6)
    np.testing.assert_allclose(target[:, 2], np.linalg.norm(positions, axis=1), rtol=1e-6)
    # What is above in the world is above in the image: y points down.
    above = np.einsum("ij,j->i", np.linalg.inv(poses[0]), [0.0, 0.0, 0.1, 1.0])
    assert above[1] < 0


def test_orbit_measures_azimuth_from_x_towards_y():
    cameras = orbit(np.array([0.0, 90.0]), elevation_degrees=0.0, distance=2.0)
    np.testing.assert_allclose(cameras.camera_to_world[:, :3, 3], [[2, 0, 0], [0, 2, 0]], atol=1e-6)


def test_world_to_camera_is_the_general_inverse_and_so_is_its_gradient():
    poses = random_poses(5)
    general = np.array(poses)
    general[:, :3, :3] += 0.1 * np.random.default_rng(1).normal(size=(5, 3, 3))
    for matrices in (poses, general.astype(np.float32)):
        np.testing.assert_allclose(world_to_camera(jnp.asarray(matrices)), np.linalg.inv(matrices), atol=2e-5)
    cotangent = np.random.default_rng(2).normal(size=(4, 4)).astype(np.float32)
    cotangent[3] = 0
    ours = jax.grad(lambda m: jnp.sum(world_to_camera(m) * cotangent))(jnp.asarray(general[0], jnp.float32))
    inverse = np.linalg.inv(general[0])
    np.testing.assert_allclose(ours[:3], (-inverse.T @ cotangent @ inverse.T)[:3], rtol=1e-3, atol=1e-4)


def test_rays_pass_through_the_pixels_they_belong_to():
    height, width = 6, 8
    poses = random_poses(3)
    intrinsics = np.array([[1.1, 1.3, 0.45, 0.55]] * 3, np.float32)
    rays = pixel_rays(Cameras(poses, intrinsics), height, width)
    points = np.asarray(rays.origins) + 2.5 * np.asarray(rays.directions)
    camera = np.einsum("nij,nhwj->nhwi", np.linalg.inv(poses)[:, :3, :3], points - poses[:, None, None, :3, 3])
    columns = (camera[..., 0] / camera[..., 2] * 1.1 + 0.45) * width
    rows = (camera[..., 1] / camera[..., 2] * 1.3 + 0.55) * height
    np.testing.assert_allclose(columns, np.broadcast_to(np.arange(width) + 0.5, columns.shape), atol=1e-4)
    np.testing.assert_allclose(rows, np.broadcast_to((np.arange(height) + 0.5)[:, None], rows.shape), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(rays.directions, axis=-1), 1.0, atol=1e-6)


def test_closest_point_is_on_the_ray_and_at_right_angles_to_it():
    rays = pixel_rays(Cameras(random_poses(4), np.tile(intrinsics_from_fov(50.0), (4, 1))), 5, 5)
    point = closest_point_to_origin(rays)
    np.testing.assert_allclose(jnp.sum(point * rays.directions, -1), 0.0, atol=1e-5)
    np.testing.assert_allclose(jnp.cross(point - rays.origins, rays.directions), 0.0, atol=1e-5)


@pytest.mark.parametrize("kind", ["rppc", "plucker"])
def test_ray_embeddings_do_not_depend_on_where_on_the_ray_the_origin_is(kind):
    rays = pixel_rays(Cameras(random_poses(2), np.tile(intrinsics_from_fov(50.0), (2, 1))), 4, 4)
    moved = rays._replace(origins=rays.origins + 0.7 * rays.directions)
    np.testing.assert_allclose(embed_rays(rays, kind), embed_rays(moved, kind), atol=1e-5)


def test_plucker_moment_is_the_ray_line():
    rays = pixel_rays(Cameras(random_poses(1), intrinsics_from_fov(50.0)[None]), 2, 2)
    embedding = np.asarray(embed_rays(rays, "plucker"))
    np.testing.assert_allclose(np.sum(embedding[..., :3] * embedding[..., 3:], -1), 0.0, atol=1e-5)


def test_turning_the_world_keeps_relative_poses():
    poses = random_poses(4)
    turned = turn_to_azimuth_zero(poses, poses[2])
    assert abs(turned[2, 1, 3]) < 1e-5 and turned[2, 0, 3] > 0
    np.testing.assert_allclose(np.linalg.inv(turned[0]) @ turned[1], np.linalg.inv(poses[0]) @ poses[1], atol=1e-5)
    np.testing.assert_allclose(turned[:, 2, 3], poses[:, 2, 3], atol=1e-6)


def test_rig_shows_the_whole_bounding_sphere():
    rig = ObjectRig()
    assert np.sin(np.radians(rig.fov / 2)) * rig.distance >= 1.0
    condition, noisy = condition_camera(rig), denoised_cameras(rig)
    assert condition.camera_to_world.shape == (1, 4, 4) and noisy.camera_to_world.shape == (3, 4, 4)
    np.testing.assert_allclose(
        condition.camera_to_world[0, :3, 3], spherical_position(0.0, np.radians(20.0), 2.7), atol=1e-6
    )


def test_normalized_points_fill_the_unit_sphere():
    points = np.random.default_rng(0).normal(size=(100, 3)) * [3, 1, 0.2] + [10, -4, 2]
    offset, scale = normalize_points(points)
    moved = (points + offset) * scale
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1).max(), 1.0)
    np.testing.assert_allclose(moved.min(0) + moved.max(0), 0.0, atol=1e-12)
    with pytest.raises(ValueError, match="no extent"):
        normalize_points(np.ones((4, 3)))
