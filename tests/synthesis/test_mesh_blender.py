"""Blender's pictures against the fast engines': one camera, one outline, one depth.

Needs Blender: set DIFFGS_JAX_BLENDER to a Python with bpy, or to a Blender.
"""

import sys

import numpy as np
import pytest
from gltf_files import Builder

from diffgs_jax.errors import UserError
from diffgs_jax.geometry import Cameras, orbit
from diffgs_jax.synthesis.meshes.blender import BlenderRenderer
from diffgs_jax.synthesis.meshes.loading import load_mesh
from diffgs_jax.synthesis.meshes.viewpoints import random_viewpoints

trimesh = pytest.importorskip("trimesh")
SIZE = 96


@pytest.fixture(scope="module")
def blender():
    try:
        renderer = BlenderRenderer(SIZE, samples=16)
    except UserError as error:
        pytest.skip(str(error))
    yield renderer
    renderer.close()


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A knot-like solid with colours: a torus around a box."""
    folder = tmp_path_factory.mktemp("meshes")
    ring = trimesh.creation.torus(1.0, 0.3)
    block = trimesh.creation.box([0.8, 0.5, 1.6])
    ring.visual = trimesh.visual.ColorVisuals(ring, face_colors=[220, 90, 60, 255])
    block.visual = trimesh.visual.ColorVisuals(block, face_colors=[60, 90, 220, 255])
    trimesh.Scene([ring, block]).export(folder / "both.glb")
    return load_mesh(folder / "both.glb")


def off_centre_cameras():
    cameras = random_viewpoints("agreement", 6, distance_range=(2.5, 3.5))
    intrinsics = np.array(cameras.intrinsics)
    intrinsics[1] = 1.1, 1.1, 0.45, 0.55
    intrinsics[3] = 1.3, 1.3, 0.53, 0.45
    return Cameras(cameras.camera_to_world, intrinsics)


def test_camera_mask_depth_and_normals_agree(blender, renderer, parts):
    cameras = off_centre_cameras()
    ours, theirs = renderer.render_surfaces(parts, cameras), blender.render_surfaces(parts, cameras)
    mask, other = np.isfinite(ours.depth), np.isfinite(theirs.depth)
    union = (mask | other).sum(axis=(1, 2))
    assert (union > 300).all()
    assert ((mask & other).sum(axis=(1, 2)) / union).min() > 0.99
    both = mask & other
    error = np.abs(ours.depth - theirs.depth)[both]
    # Rays that are a hundredth of a pixel apart may meet different surfaces at an inner outline.
    assert np.quantile(error, 0.98) < 2e-3 and np.median(error) < 5e-4
    cosine = np.sum(ours.normals * theirs.normals, axis=-1)[both]
    # Cycles bends interpolated normals that would reflect into the surface, near outlines.
    assert np.median(cosine) > 0.9999 and np.quantile(cosine, 0.05) > 0.95
    np.testing.assert_allclose(np.linalg.norm(theirs.normals[both], axis=-1), 1.0, atol=1e-3)


def test_pictures_show_the_same_outline_and_hues_and_nothing_black(blender, renderer, parts):
    cameras = off_centre_cameras()
    ours, theirs = renderer.render(parts, cameras), blender.render(parts, cameras)
    first, second = ours[..., 3] / 255, theirs[..., 3] / 255
    assert np.abs(first - second).mean() < 0.01
    assert ((first > 0.5) != (second > 0.5)).mean() < 0.01
    solid = (first == 1) & (second > 0.99)
    assert (ours[solid][:, :3].argmax(-1) == theirs[solid][:, :3].argmax(-1)).mean() > 0.97
    assert np.quantile(theirs[solid][:, :3].max(-1), 0.02) > 60


@pytest.mark.parametrize("mode", ["MASK", "BLEND"])
def test_transparency_and_edges_of_gltf_materials_agree(blender, renderer, tmp_path, mode):
    """Stripes whose alpha grows, on coordinates that leave the texture at its sides, where the edge goes on."""
    builder = Builder()
    pixels = np.zeros((30, 30, 4))
    pixels[..., :3] = np.repeat(np.eye(3)[None] * 255, 10, axis=1)
    pixels[..., 3] = np.linspace(40, 255, 30)[:, None]
    texture = builder.texture(pixels, wrapS=33071, wrapT=33071)
    look = {"alphaMode": mode, "pbrMetallicRoughness": {"baseColorTexture": texture, "baseColorFactor": [1, 1, 1, 0.8]}}
    builder.square(look, uv=[[-1, 1], [2, 1], [2, 0], [-1, 0]])
    square, camera = load_mesh(builder.write(tmp_path / "a.glb")), orbit(np.zeros(1), elevation_degrees=0.0)
    (ours,), (theirs,) = (engine.render(square, camera) / 255 for engine in (renderer, blender))
    assert np.abs(ours[..., 3] - theirs[..., 3]).mean() < 0.01
    seen = (ours[..., 3] > 0.3) & (theirs[..., 3] > 0.3)
    assert seen.sum() > 1000
    assert (ours[seen][:, :3].argmax(-1) == theirs[seen][:, :3].argmax(-1)).mean() > 0.96
    middle = SIZE // 2
    assert [int(theirs[middle + 12, middle + x, :3].argmax()) for x in (-18, 0, 18)] == [0, 1, 2]


def test_a_python_without_blender_is_told_what_to_do():
    if sys.executable.endswith("blender"):
        pytest.skip("runs in Blender")
    with pytest.raises(UserError, match="no program /nowhere"):
        BlenderRenderer(16, program="/nowhere")
    try:
        import bpy  # noqa: F401  # ty: ignore

        pytest.skip("this Python has bpy")
    except ImportError:
        pass
    with pytest.raises(UserError, match="pip install bpy"):
        BlenderRenderer(16, program=sys.executable)
