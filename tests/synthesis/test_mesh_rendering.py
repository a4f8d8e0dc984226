"""Rendered pictures against what geometry says they must show."""

import numpy as np
import pytest
from PIL import Image
from scipy.spatial import ConvexHull

from diffgs_jax.data import geometry_hash
from diffgs_jax.errors import DataError
from diffgs_jax.geometry import orbit
from diffgs_jax.synthesis.meshes.loading import load_mesh, triangles
from diffgs_jax.synthesis.meshes.viewpoints import random_viewpoints

pytest.importorskip("trimesh")
SIZE = 96

# A box of 2 × 1 × 3 (x, y up, z front), away from the origin, each side in its own colour.
CORNERS = np.asarray([[x, y, z] for x in (4, 6) for y in (1, 2) for z in (-5, -2)], float)
SIDES = {
    "left": ((1, 2, 4, 3), (0.9, 0.1, 0.1)),
    "right": ((5, 7, 8, 6), (0.1, 0.9, 0.1)),
    "bottom": ((1, 5, 6, 2), (0.1, 0.1, 0.9)),
    "top": ((3, 4, 8, 7), (0.9, 0.9, 0.1)),
    "back": ((1, 3, 7, 5), (0.9, 0.1, 0.9)),
    "front": ((2, 6, 8, 4), (0.1, 0.9, 0.9)),
}


def write_box(folder, *, flip=(), opacity=1.0, colors=None, name="box"):
    """Writes the box as OBJ + MTL; sides in `flip` are wound the wrong way round."""
    faces, materials = [], []
    for side, (corners, color) in SIDES.items():
        faces += [f"usemtl {side}", "f " + " ".join(map(str, corners[::-1] if side in flip else corners))]
        color = color if colors is None else colors
        materials += [f"newmtl {side}", "Ka 0 0 0", "Kd {} {} {}".format(*color), f"d {opacity}"]
    vertices = ["v {} {} {}".format(*corner) for corner in CORNERS]
    (folder / f"{name}.mtl").write_text("\n".join(materials))
    (folder / f"{name}.obj").write_text("\n".join([f"mtllib {name}.mtl", *vertices, *faces]))
    return folder / f"{name}.obj"


def in_object_frame(points):
    """The object frame by hand: centre of the box to the origin, radius 1, file (x, y, z) to world (z, x, y)."""
    low, high = CORNERS.min(0), CORNERS.max(0)
    return ((points - (low + high) / 2) / (np.linalg.norm(high - low) / 2))[..., [2, 0, 1]]


def project(points, cameras, view):
    """Pixel coordinates (x, y) of world points."""
    pose = cameras.camera_to_world[view].astype(float)
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    fx, fy, cx, cy = cameras.intrinsics[view].astype(float)
    x, y = fx * local[..., 0] / local[..., 2] + cx, fy * local[..., 1] / local[..., 2] + cy
    return np.stack([x, y], -1) * SIZE


def test_the_object_frame(tmp_path):
    points = triangles(load_mesh(write_box(tmp_path))).reshape(-1, 3)
    expected = in_object_frame(CORNERS)
    np.testing.assert_allclose(np.unique(points.round(6), axis=0), np.unique(expected.round(6), axis=0), atol=1e-6)
    assert np.isclose(np.linalg.norm(points, axis=1).max(), 1.0)


def test_a_z_up_file_keeps_its_axes_and_a_rotation_comes_first(tmp_path):
    path = write_box(tmp_path)
    upright = triangles(load_mesh(path)).reshape(-1, 3)
    kept = triangles(load_mesh(path, up="z")).reshape(-1, 3)
    np.testing.assert_allclose(kept[:, [2, 0, 1]], upright, atol=1e-9)
    quarter = np.asarray([[0, -1, 0], [1, 0, 0], [0, 0, 1]], float)
    turned = triangles(load_mesh(path, up="z", rotation=quarter)).reshape(-1, 3)
    np.testing.assert_allclose(turned, kept @ quarter.T, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("flip", [(), ("front", "top"), tuple(SIDES)])
def test_every_visible_side_is_where_its_camera_says_in_its_own_colour(tmp_path, renderer, flip):
    cameras = random_viewpoints("box", 24, elevation_range=(-60.0, 80.0))
    pictures = renderer.render(load_mesh(write_box(tmp_path, flip=flip)), cameras)
    seen = set()
    for view, picture in enumerate(pictures):
        eye = cameras.camera_to_world[view, :3, 3]
        for side, (corners, color) in SIDES.items():
            middle = in_object_frame(CORNERS[np.asarray(corners) - 1].mean(axis=0))
            outward = middle / np.linalg.norm(middle)
            if outward @ (eye - middle) / np.linalg.norm(eye - middle) < 0.25:
                continue
            x, y = project(middle, cameras, view)
            found = picture[int(y), int(x)] / 255
            assert found[3] == 1.0
            # Light changes how bright a side is, not its hue, and leaves none of them dark.
            brightness = found[:3].max() / max(color)
            np.testing.assert_allclose(found[:3], np.asarray(color) * brightness, atol=0.01)
            assert 0.5 < brightness <= 1.001
            seen.add(side)
    assert seen == set(SIDES)


def test_a_side_is_as_bright_from_everywhere(tmp_path, renderer):
    cameras = orbit(np.asarray([-50.0, 0.0, 50.0]))
    pictures = renderer.render(load_mesh(write_box(tmp_path)), cameras)
    for side in ("front", "top"):
        middle = in_object_frame(CORNERS[np.asarray(SIDES[side][0]) - 1].mean(axis=0))
        places = [project(middle, cameras, view).astype(int) for view in range(3)]
        colors = [picture[y, x, :3].astype(int) for picture, (x, y) in zip(pictures, places, strict=True)]
        assert np.ptp(colors, axis=0).max() <= 1


def test_alpha_covers_exactly_the_projected_outline(tmp_path, renderer):
    cameras = random_viewpoints("box", 8)
    pictures = renderer.render(load_mesh(write_box(tmp_path)), cameras)
    for view, picture in enumerate(pictures):
        outline = ConvexHull(project(in_object_frame(CORNERS), cameras, view))
        coverage = picture[..., 3].astype(float) / 255
        assert np.isclose(coverage.sum(), outline.volume, rtol=0.01)
        ys, xs = np.nonzero(coverage)
        np.testing.assert_allclose([xs.min(), ys.min()], outline.min_bound, atol=1.01)
        np.testing.assert_allclose([xs.max() + 1, ys.max() + 1], outline.max_bound, atol=1.01)


def where_rays_enter_the_box(cameras, view):
    """Planar depth and normals by the slab test: inside the box is between all three pairs of sides."""
    pose = cameras.camera_to_world[view].astype(float)
    fx, fy, cx, cy = cameras.intrinsics[view].astype(float)
    x, y = np.meshgrid(((np.arange(SIZE) + 0.5) / SIZE - cx) / fx, ((np.arange(SIZE) + 0.5) / SIZE - cy) / fy)
    rays = np.stack([x, y, np.ones_like(x)], -1) @ pose[:3, :3].T  # of planar length 1
    corners = in_object_frame(CORNERS)
    first, second = (corners.min(0) - pose[:3, 3]) / rays, (corners.max(0) - pose[:3, 3]) / rays
    enter, leave = np.minimum(first, second), np.maximum(first, second)
    struck = enter.max(-1) < leave.min(-1)
    axis = enter.argmax(-1)
    normals = -np.eye(3)[axis] * np.sign(np.take_along_axis(rays, axis[..., None], -1))
    return np.where(struck, enter.max(-1), np.nan), np.where(struck[..., None], normals, np.nan)


def test_depth_and_normals_are_those_of_the_rays_through_pixel_centres(tmp_path, renderer):
    cameras = random_viewpoints("box", 6)
    depth, normals = renderer.render_surfaces(load_mesh(write_box(tmp_path, flip=("front",))), cameras)
    assert depth.shape == (6, SIZE, SIZE) and normals.shape == (6, SIZE, SIZE, 3)
    for view in range(6):
        expected_depth, expected_normals = where_rays_enter_the_box(cameras, view)
        # Only rays that graze an edge may differ.
        assert (np.isnan(depth[view]) != np.isnan(expected_depth)).sum() <= 3
        both = np.isfinite(depth[view]) & np.isfinite(expected_depth)
        assert both.sum() > 500
        np.testing.assert_allclose(depth[view][both], expected_depth[both], atol=2e-4)
        wrong = np.abs(normals[view][both] - expected_normals[both]).max(-1) > 1e-4
        assert wrong.sum() <= 3
        np.testing.assert_array_equal(np.isnan(normals[view][..., 0]), np.isnan(depth[view]))


def test_depth_looks_through_thin_glass_and_holes_only(tmp_path, renderer):
    for opacity, expected in ((0.25, False), (0.75, True)):
        depth, _ = renderer.render_surfaces(load_mesh(write_box(tmp_path, opacity=opacity)), orbit(np.zeros(1)))
        assert np.isfinite(depth).any() == expected
    pixels = np.full((16, 16, 4), 255)
    pixels[:, 8:, 3] = 0
    (depth,), _ = renderer.render_surfaces(load_mesh(textured_quad(tmp_path, pixels)), orbit(np.zeros(1)))
    assert np.isfinite(depth[SIZE // 2, SIZE * 3 // 8]) and np.isnan(depth[SIZE // 2, SIZE * 5 // 8])


def test_given_light_replaces_the_fixed_light_side_by_side(tmp_path, renderer):
    """A white sheet that is lit red in front and dimmer behind: 1 − exp(−light), then gamma 2.2."""
    sheet = load_mesh(textured_quad(tmp_path, np.full((4, 4, 3), 255)))[0]
    here, behind = np.asarray([2.0, 0.5, 0.0]), np.asarray([0.1, 0.1, 0.1])
    lit = sheet._replace(light=np.broadcast_to(np.stack([here, behind]), (len(sheet.positions), 3, 2, 3)).copy())
    pictures = renderer.render([lit], orbit(np.asarray([0.0, 180.0]), elevation_degrees=0.0))
    front = sheet.normals[0, 0, 0] > 0
    for picture, light in zip(pictures, (here, behind) if front else (behind, here), strict=True):
        expected = 255 * (1 - np.exp(-light)) ** (1 / 2.2)
        np.testing.assert_allclose(picture[SIZE // 2, SIZE // 2, :3], expected, atol=1.01)


def test_edges_keep_the_colour_of_the_object(tmp_path, renderer):
    path = write_box(tmp_path, colors=(0.5, 0.5, 0.5))
    for picture in renderer.render(load_mesh(path), orbit(np.asarray([0.0, 40.0]))):
        edge = (picture[..., 3] > 32) & (picture[..., 3] < 224)
        inside = picture[picture[..., 3] == 255][:, :3].astype(int)
        assert edge.any()
        assert inside.min() - 5 <= picture[edge][:, :3].min() and picture[edge][:, :3].max() <= inside.max() + 5


def test_glass_lets_through_what_its_material_says(tmp_path, renderer):
    (tmp_path / "pane.mtl").write_text("newmtl glass\nKd 1 1 1\nd 0.25")
    (tmp_path / "pane.obj").write_text(
        "mtllib pane.mtl\nv -1 -1 0\nv 1 -1 0\nv 1 1 0\nv -1 1 0\nusemtl glass\nf 1 2 3 4"
    )
    (picture,) = renderer.render(load_mesh(tmp_path / "pane.obj"), orbit(np.zeros(1)))
    assert abs(int(picture[SIZE // 2, SIZE // 2, 3]) - 64) <= 1
    # Seen through the box, two panes are passed: 1 − 0.75² of the light is held back.
    (picture,) = renderer.render(load_mesh(write_box(tmp_path, opacity=0.25)), orbit(np.zeros(1)))
    assert abs(int(picture[SIZE // 2, SIZE // 2, 3]) - round(255 * (1 - 0.75**2))) <= 2


def textured_quad(folder, pixels, *, diffuse="0 0 0"):
    """A quad that faces the front, with a texture; its Kd is the black that exporters leave."""
    Image.fromarray(np.asarray(pixels, np.uint8)).save(folder / "t.png")
    (folder / "q.mtl").write_text(f"newmtl m\nKd {diffuse}\nmap_Kd t.png")
    (folder / "q.obj").write_text(
        "mtllib q.mtl\nv -1 -1 0\nv 1 -1 0\nv 1 1 0\nv -1 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
        "usemtl m\nf 1/1 2/2 3/3 4/4"
    )
    return folder / "q.obj"


def test_a_texture_is_upright_not_mirrored_and_not_black(tmp_path, renderer):
    red, green, blue, white = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]
    pixels = np.kron(np.asarray([[red, green], [blue, white]]), np.ones((8, 8, 1)))
    cameras = orbit(np.zeros(1), elevation_degrees=0.0)
    (picture,) = renderer.render(load_mesh(textured_quad(tmp_path, pixels)), cameras)
    near, far = SIZE * 3 // 8, SIZE * 5 // 8
    for (row, column), color in {(near, near): red, (near, far): green, (far, near): blue, (far, far): white}.items():
        found = picture[row, column, :3] / picture[row, column, :3].max()
        np.testing.assert_allclose(found, np.asarray(color) / 255, atol=0.02)


def test_holes_in_a_texture_are_holes(tmp_path, renderer):
    pixels = np.full((16, 16, 4), 255)
    pixels[:, 8:, 3] = 0
    (picture,) = renderer.render(load_mesh(textured_quad(tmp_path, pixels)), orbit(np.zeros(1), elevation_degrees=0.0))
    assert picture[SIZE // 2, SIZE * 3 // 8, 3] == 255 and picture[SIZE // 2, SIZE * 5 // 8, 3] == 0


def test_gltf_factors_are_linear_light_and_nodes_are_placed(tmp_path, renderer):
    import trimesh

    material = trimesh.visual.material.PBRMaterial(baseColorFactor=[0.2140, 0.2140, 0.2140, 1.0])
    ball = trimesh.creation.icosphere(3)
    ball.visual = trimesh.visual.TextureVisuals(material=material)
    scene = trimesh.Scene()
    for place in (-3.0, 3.0):
        scene.add_geometry(ball, transform=trimesh.transformations.translation_matrix([place, 0.0, 0.0]))
    scene.export(tmp_path / "two.glb")
    cameras = orbit(np.zeros(1), elevation_degrees=0.0)
    (picture,) = renderer.render(load_mesh(tmp_path / "two.glb"), cameras)
    columns = np.nonzero(picture[SIZE // 2, :, 3])[0]
    assert picture[SIZE // 2, SIZE // 2, 3] == 0 and len(columns) > 10  # two balls, nothing between
    # Linear 0.214 is sRGB 0.5 (IEC 61966-2-1), and nothing is lit by more than 1.
    assert 0.3 * 255 < picture[..., :3].max() <= 0.505 * 255


def test_a_recolour_is_the_same_shape(tmp_path):
    first = geometry_hash(triangles(load_mesh(write_box(tmp_path))))
    assert geometry_hash(triangles(load_mesh(write_box(tmp_path, colors=(0, 0, 0), flip=("top",), name="b")))) == first


def test_the_frame_is_filled(tmp_path, renderer):
    """At distance 2.7 and 50° the unit sphere just fits."""
    import trimesh

    trimesh.creation.icosphere(4).export(tmp_path / "ball.ply")
    (picture,) = renderer.render(load_mesh(tmp_path / "ball.ply"), orbit(np.zeros(1)))
    extent = np.ptp(np.nonzero(picture[..., 3])[0]) + 1
    fraction = np.tan(np.arcsin(1 / 2.7)) / np.tan(np.radians(25.0))
    assert fraction < 1 and abs(extent / SIZE - fraction) < 0.03


def test_viewpoints_are_the_object_s_own_and_as_asked():
    cameras = random_viewpoints("a", 2000, elevation_range=(-10.0, 60.0), distance_range=(2.0, 3.0))
    position = cameras.camera_to_world[:, :3, 3]
    distance = np.linalg.norm(position, axis=1)
    height = position[:, 2] / distance
    assert 2.0 <= distance.min() and distance.max() <= 3.0
    low, high = np.sin(np.radians([-10.0, 60.0]))
    assert low - 1e-6 <= height.min() and height.max() <= high + 1e-6
    # Uniform in the sine: the histogram is flat to within its own noise.
    counts, _ = np.histogram(height, bins=10, range=(low, high))
    assert np.abs(counts - 200).max() < 5 * np.sqrt(200)
    again, other = random_viewpoints("a", 4), random_viewpoints("b", 4)
    np.testing.assert_array_equal(again.camera_to_world, random_viewpoints("a", 4).camera_to_world)
    assert not np.allclose(again.camera_to_world, other.camera_to_world)


def test_files_that_are_no_mesh(tmp_path):
    for name, content, message in (
        ("text.obj", "hello", "no visible triangle|cannot be read"),
        ("broken.glb", "glTF", "truncated"),
        ("point.obj", "v 0 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3", "no visible triangle"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=message):
            load_mesh(tmp_path / name)
    with pytest.raises(DataError, match="cannot read"):
        load_mesh(tmp_path / "missing.obj")
