"""One real object, ray-cast by Embree, that every test writes in a dataset's layout with that format's own tools.

`horse/`: "Low Poly Horse" by twin97 (blendswap.com 78140), CC0, from the Debian package sweethome3d-furniture.
"""

import io
import pathlib
from typing import NamedTuple

import numpy as np
import pytest
from numbered_records import numbered_record as _numbered_record
from PIL import Image

from diffgs_jax.data.images import decode_premultiplied
from diffgs_jax.data.maps import decode_depth
from diffgs_jax.data.validation import validate_record
from diffgs_jax.datasets.reprojection import look_up, project_points, unproject_depth
from diffgs_jax.geometry import Cameras, intrinsics_from_fov, look_at, spherical_position
from diffgs_jax.synthesis.meshes.loading import load_mesh

HORSE = pathlib.Path(__file__).parent / "horse" / "horse2.obj"


class Views(NamedTuple):
    """The truth: cameras `[n]` in the object frame, RGBA, planar depth and world normals (NaN where nothing is)."""

    cameras: Cameras
    pictures: np.ndarray
    depth: np.ndarray
    normals: np.ndarray


def render_horse(azimuths, elevations, *, size, distance=2.7, fov=50.0):
    pytest.importorskip("trimesh")
    pytest.importorskip("embreex")
    from diffgs_jax.synthesis.meshes.raycasting import RayCaster

    azimuths, elevations = np.radians(azimuths), np.radians(elevations)
    pose = look_at(spherical_position(azimuths, elevations, np.full_like(azimuths, distance)))
    cameras = Cameras(pose, np.tile(intrinsics_from_fov(fov), (len(pose), 1)))
    caster, parts = RayCaster(size), load_mesh(HORSE)
    surfaces = caster.render_surfaces(parts, cameras)
    return Views(cameras, caster.render(parts, cameras), surfaces.depth, surfaces.normals)


@pytest.fixture
def numbered_record():
    return _numbered_record


@pytest.fixture(scope="session")
def ring():
    """Twelve views all around, from slightly below to high above, out of order."""
    azimuths = (np.arange(12) * 150.0) % 360
    return render_horse(azimuths, np.tile([20.0, -10.0, 45.0, 70.0], 3), size=96)


@pytest.fixture(scope="session")
def published_ring():
    """G-Objaverse's forty viewpoints, in its scale: the object in a cube of side 1, 0.69115 rad of view."""
    azimuths = np.concatenate([np.arange(24) * 15.0, [0.0, 0.0, 0.0], np.arange(12) * 30.0, [0.0]])
    elevations = np.concatenate([np.linspace(5, 30, 24), [5.0, 89.9, -89.9], np.tile([5.0, -5.0], 6), [5.0]])
    views = render_horse(azimuths, elevations, size=64, distance=3.2, fov=np.degrees(0.69115))
    pose = views.cameras.camera_to_world.copy()
    pose[:, :3, 3] *= 0.5
    return views._replace(cameras=Cameras(pose, views.cameras.intrinsics), depth=views.depth * np.float32(0.5))


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def on_white(rgba):
    alpha = rgba[..., 3:] / 255
    return np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def masks_of(record):
    """What a record's pictures show: their alpha, or what is not white."""
    masks = []
    for encoded in record.images:
        pixels = decode_premultiplied(encoded)
        covered = pixels[..., 3] > 0
        masks.append(covered & (pixels[..., :3].min(axis=-1) < 250) if covered.all() else covered)
    return masks


def landing(points_of, record, masks):
    """The part of every view's points that falls into every other view's mask."""
    inside = total = 0
    for source, points in enumerate(points_of):
        for target, mask in enumerate(masks):
            if source != target:
                places, depth = project_points(points, *(array[target] for array in record.cameras))
                seen = (depth > 0) & (places >= 0).all(axis=1) & (places < 1).all(axis=1)
                inside += int((look_up(mask.astype(float), places[seen], 0.0) > 0.5).sum())
                total += int(seen.sum())
    assert total > 1000
    return inside / total


def landing_by_own_depth(record):
    """Unprojects a record's own depth maps."""
    depth = decode_depth(record.maps["depth"])
    views = zip(depth, record.cameras.camera_to_world, record.cameras.intrinsics, strict=True)
    return landing([unproject_depth(*view) for view in views], record, masks_of(record))


def landing_by_true_depth(record, truth):
    """Unprojects the truth, moved by the similarity that takes its cameras to the record's."""
    scale, rotation, offset = similarity(truth.cameras.camera_to_world, record.cameras.camera_to_world)
    views = zip(truth.depth, truth.cameras.camera_to_world, truth.cameras.intrinsics, strict=True)
    points = [scale * unproject_depth(*view) @ rotation.T + offset for view in views]
    return landing(points, record, masks_of(record))


def similarity(before, after):
    """Umeyama's alignment of camera centres; every pose must follow it, its axes too."""
    x, y = before[:, :3, 3].astype(float), after[:, :3, 3].astype(float)
    dx, dy = x - x.mean(0), y - y.mean(0)
    left, sizes, right = np.linalg.svd(dy.T @ dx)
    signs = np.asarray([1, 1, np.sign(np.linalg.det(left @ right))])
    rotation = left @ np.diag(signs) @ right
    scale = float((sizes * signs).sum() / (dx**2).sum())
    offset = y.mean(0) - scale * rotation @ x.mean(0)
    np.testing.assert_allclose(scale * x @ rotation.T + offset, y, atol=2e-3 * np.abs(dy).max())
    np.testing.assert_allclose(rotation @ before[:, :3, :3], after[:, :3, :3], atol=2e-3)
    return scale, rotation, offset


def check(record, views):
    """What holds for every record, wherever it comes from."""
    validate_record(record, views=views)
    return record


@pytest.fixture(scope="session")
def tools():
    """The functions above, for test modules."""
    import types

    functions = (png, on_white, masks_of, landing_by_own_depth, landing_by_true_depth, similarity, check, render_horse)
    return types.SimpleNamespace(**{function.__name__: function for function in functions})
