"""Posed pictures of any world to a splat in that world, by a reconstructor of random weights."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from diffgs_jax.checkpoints import save_weights
from diffgs_jax.config import SamplingConfig, TrainConfig, to_dict
from diffgs_jax.data import DataConfig
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import Cameras, Gaussians, Similarity, moved_cameras, moved_gaussians, orbit, sh_from_color
from diffgs_jax.inference import PosedImages, load
from diffgs_jax.interop import read_gaussians
from diffgs_jax.models import family
from diffgs_jax.models.gsrecon import GSReconConfig, ReconstructionLossConfig, ReconstructorConfig
from diffgs_jax.models.splat_grid import SplatGridConfig
from diffgs_jax.rasterizer import RenderSettings, render_dense
from diffgs_jax.sample import main

pytestmark = pytest.mark.slow  # a model is loaded, and several programs are compiled
SIDE = 32
SETTINGS = tuple(RenderSettings().arguments())
TINY = TrainConfig(
    model=GSReconConfig(
        network=ReconstructorConfig(
            width=16, layers=1, heads=1, hidden=16, stride=2, maps=("silhouettes",), color_skip=True, hull_skip=True
        ),
        grid=SplatGridConfig(smallest_scale=0.01, largest_scale=0.2, places="centers"),
        losses=ReconstructionLossConfig(perceptual=0.0),
    ),
    data=DataConfig(resolution=SIDE, condition_views=4, noisy_views=0),
    sampling=SamplingConfig(filter=0.0),
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    params = jax.jit(lambda key: family(TINY.model).init(TINY.model, key))(jax.random.key(0))
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: leaf + 0.1 * random.normal(size=leaf.shape).astype(np.float32), params)
    folder = tmp_path_factory.mktemp("reconstructor")
    save_weights(folder, 1, params, {"config": to_dict(TINY), "counters": {"samples": 0}})
    return folder


@pytest.fixture(scope="module")
def pipeline(checkpoint):
    return load(checkpoint)


def pictures(cameras):
    """Pictures of a bar of many colours."""
    random = np.random.default_rng(3)
    means = random.uniform(-1, 1, (400, 3)).astype(np.float32) * np.float32([0.6, 0.25, 0.35])
    bar = Gaussians(
        means,
        np.tile(np.float32([1, 0, 0, 0]), (400, 1)),
        np.full((400, 3), 0.05, np.float32),
        np.full(400, 0.9, np.float32),
        sh_from_color(jnp.asarray(means / 1.3 + 0.5)),
    )
    seen = jax.jit(functools.partial(render_dense, height=2 * SIDE, width=2 * SIDE))(bar, cameras)
    return np.clip(np.asarray(seen.image), 0, 1), np.clip(np.asarray(seen.alpha), 0, 1), cameras


@pytest.fixture(scope="module")
def views():
    """Eight of it, all around."""
    return pictures(orbit(np.arange(8) * 45.0 + 10.0, elevation_degrees=20.0))


def turned(degrees, *, scale=1.0, shift=(0.0, 0.0, 0.0)):
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.asarray([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    return Similarity(*(np.asarray(leaf, np.float32) for leaf in (turn, scale, shift)))


def rolled(cameras, degrees):
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    roll = np.eye(4)
    roll[:2, :2] = [[cosine, -sine], [sine, cosine]]
    return cameras._replace(camera_to_world=cameras.camera_to_world @ roll)


def psnr(a, b):
    return -10 * np.log10(np.mean((np.asarray(a) - np.asarray(b)) ** 2) + 1e-12)


def write(folder, views, chosen, *, world=None, opengl=True, **more):
    """Writes a transforms.json of some views in another world."""
    folder.mkdir()
    images, alphas, cameras = views
    moved = cameras if world is None else moved_cameras(world, cameras)
    frames = []
    for number in chosen:
        cover = alphas[number][..., None]
        colors = np.clip((images[number] - (1 - cover)) / np.maximum(cover, 1e-6), 0, 1)
        pixels = np.round(np.concatenate([colors, cover], axis=-1) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"view_{number}.png")
        pose = np.asarray(moved.camera_to_world[number], np.float64)
        matrix = pose @ np.diag([1.0, -1.0, -1.0, 1.0]) if opengl else pose
        frames.append({"file_path": f"view_{number}.png", "transform_matrix": matrix.tolist()})
    angle = 2 * float(np.arctan(0.5 / cameras.intrinsics[0, 0]))
    (folder / "transforms.json").write_text(json.dumps({"camera_angle_x": angle, "frames": frames, **more}))
    return folder / "transforms.json"


EVEN = (0, 2, 4, 6)


@pytest.mark.parametrize("known", [True, False])
def test_a_moved_world_gives_the_same_splat_moved(pipeline, views, tmp_path, known):
    """With the poses in the object frame only turns are possible; otherwise silhouettes tell the rest."""
    world = turned(70.0) if known else turned(70.0, scale=3.0, shift=(0.5, -4.0, 2.0))
    more = {"object_frame": True} if known else {}
    here, there = (
        pipeline(write(tmp_path / name, views, EVEN, world=one, **more)).stored()
        for name, one in (("here", None), ("there", world))
    )
    expected = moved_gaussians(world, here)
    scale = float(world.scale)
    np.testing.assert_allclose(there.means, expected.means, atol=1e-4 * scale + 1e-4 * np.abs(expected.means).max())
    np.testing.assert_allclose(there.scales, expected.scales, rtol=1e-3)
    same = np.abs(np.sum(there.rotations * np.asarray(expected.rotations), axis=-1))
    np.testing.assert_allclose(same, 1, atol=1e-4)
    np.testing.assert_allclose(there.opacities, here.opacities, atol=1e-4)
    np.testing.assert_allclose(there.sh, here.sh, atol=1e-3)


def test_of_more_views_the_most_even_are_shown(pipeline, views, tmp_path):
    path = write(tmp_path / "a", views, (0, 1, 2, 4, 5, 6), object_frame=True)
    four = write(tmp_path / "b", views, EVEN, object_frame=True)
    np.testing.assert_array_equal(pipeline(path).views.images, pipeline(four).views.images)


def test_rolled_pictures_are_set_upright(pipeline, views, tmp_path):
    """The camera of a picture that was turned is turned back, and the picture with it."""
    path = write(tmp_path / "a", pictures(rolled(views[2], 15.0)), EVEN, object_frame=True)
    shown = pipeline.prepare(path)
    expected = pipeline.prepare(write(tmp_path / "b", views, EVEN, object_frame=True))
    np.testing.assert_allclose(shown.cameras.camera_to_world, expected.cameras.camera_to_world, atol=1e-4)
    assert psnr(shown.images, expected.images) > 30


def test_the_file_looks_as_the_model_showed_it(pipeline, checkpoint, views, tmp_path):
    path = write(tmp_path / "a", views, EVEN, world=turned(30.0, scale=2.0), object_frame=False)
    main(["--image", str(path), "--checkpoint", str(checkpoint), "--out", str(tmp_path / "out"), "--frames", "0"])
    stored = read_gaussians(tmp_path / "out" / "gaussians.ply")
    result = pipeline(path)
    cameras = orbit(np.arange(8) * 45.0 + 10.0, elevation_degrees=20.0)
    draw = jax.jit(functools.partial(render_dense, height=SIDE, width=SIDE), static_argnames=SETTINGS)
    seen = draw(result.splat, cameras, **result.rendering.arguments()).image
    back = Similarity(*(np.asarray(leaf, np.float32) for leaf in result.given))
    there = draw(moved_gaussians(back, stored), cameras, dilation=0.0).image
    undimmed = draw(result.splat, cameras, dilation=0.0).image
    assert psnr(there, undimmed) > 45
    assert psnr(there, seen) > 30  # without the dimming of what is smaller than a pixel, which files do not hold


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def test_bad_input_is_told_in_a_line(pipeline, views, tmp_path):
    def refused(name, kind, *arguments, **settings):
        with pytest.raises(kind) as caught:
            pipeline(write(tmp_path / name, *arguments, **settings))
        return one_line(caught)

    assert "has 2 images; this model is shown 4" in refused("two", UserError, views, (0, 4), object_frame=True)
    assert "do not surround the object" in refused("front", DataError, views, (0, 1, 2, 3), object_frame=True)
    assert "looks away from the object" in refused("axes", DataError, views, EVEN, object_frame=True, opengl=False)
    assert "look away from the point" in refused("axes2", DataError, views, EVEN, opengl=False)
    images, alphas, cameras = views
    twice = Cameras(cameras.camera_to_world[[0, 0, 2, 4]], cameras.intrinsics[:4])
    assert "from one place" in refused("equal", DataError, (images, alphas, twice), (0, 1, 2, 3), object_frame=True)
    with pytest.raises(UserError, match=r"must be \[n, 32, 32, 3\]"):
        pipeline(PosedImages(np.zeros((4, SIDE, SIDE + 8, 3), np.float32), orbit(np.arange(4) * 90.0)))
    with pytest.raises(UserError, match="shown silhouettes beside pictures, and these views have none"):
        pipeline(PosedImages(np.zeros((4, SIDE, SIDE, 3), np.float32), orbit(np.arange(4) * 90.0)))
    with pytest.raises(UserError, match="this model needs 4 pictures: give the transforms.json"):
        pipeline(np.zeros((SIDE, SIDE, 4), np.uint8))


def test_a_turntable_without_poses(checkpoint, pipeline, tmp_path, capsys):
    images, alphas, cameras = pictures(orbit(np.arange(4) * 90.0, elevation_degrees=20.0))
    covered = np.concatenate([images, alphas[..., None]], axis=-1)
    # The second as if it had been scaled down by half, which says nothing of the object's size
    sources = [picture if number != 1 else picture[::2, ::2] for number, picture in enumerate(covered)]
    shown = pipeline.prepare(sources)
    expected = orbit(np.arange(4) * 90.0, elevation_degrees=20.0, distance=2.7, fov_degrees=50.0)
    np.testing.assert_allclose(shown.cameras.camera_to_world, expected.camera_to_world, atol=1e-6)

    def sides(pictures):
        seen = [np.argwhere(np.abs(picture[..., :3] - 1).max(-1) > 0.02) for picture in pictures]
        return np.asarray(
            [(np.ptp(found, axis=0).max() + 1) / len(one) for found, one in zip(seen, pictures, strict=True)]
        )

    framed = sides(shown.images)
    assert framed.max() == pytest.approx(0.77, abs=1.5 / SIDE)
    np.testing.assert_allclose(framed, sides(images) * framed.max() / sides(images).max(), atol=2 / SIDE)

    folder = tmp_path / "turn"
    folder.mkdir()
    for number, picture in enumerate(covered):
        Image.fromarray(np.round(picture * 255).astype(np.uint8)).save(folder / f"{number}.png")
    fast = ["--frames", "0", "--checkpoint", str(checkpoint)]
    main(["--image", str(folder), "--one-object", "--out", str(tmp_path / "out"), *fast])
    main(["--repeat", str(tmp_path / "out" / "sample.json"), "--out", str(tmp_path / "again")])
    assert (tmp_path / "again" / "gaussians.ply").read_bytes() == (tmp_path / "out" / "gaussians.ply").read_bytes()
    capsys.readouterr()
    with pytest.raises(UserError, match="3 posed images are given; this model is shown 4"):
        pipeline([*sources[:3], None])
    with pytest.raises(UserError, match="the front, is missing"):
        pipeline([None, *sources[:3]])
