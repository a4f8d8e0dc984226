"""The elevation estimator: the published network by its golden file, its own parts by what they mean."""

import functools
import json
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.data import DataConfig
from diffgs_jax.errors import UserError
from diffgs_jax.geometry import OBJECT, Cameras, Views, orbit
from diffgs_jax.models import family
from diffgs_jax.models.bundles import Batch
from diffgs_jax.models.counting import parameter_count
from diffgs_jax.models.elevest import ElevEstConfig, VisionConfig, published
from diffgs_jax.models.elevest.loss import camera_elevations, loss
from diffgs_jax.models.elevest.network import apply_heads, apply_network, normalize, param_shapes, prepare
from diffgs_jax.models.layers import resize_positions
from diffgs_jax.weights import nested, read_params, tensors_of

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "diffsplat_elevest.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        values = dict(file)
    tensors = {name[3:]: values[name] for name in values if name.startswith("sd/")}
    heads = json.loads(str(values["config"]))["num_heads"]
    tensors = published.adapted(tensors_of(tensors))
    config = published.read_config(tensors.shapes, head_dim=48 // heads)
    params = nested(read_params(param_shapes(config), published.NAMING, tensors))
    return types.SimpleNamespace(values=values, config=config, params=params)


@pytest.fixture(scope="module")
def run(golden):
    return jax.jit(functools.partial(apply_network, golden.config))


def close(ours, theirs, tolerance=1e-4):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


def pictures(values, name):
    return np.moveaxis(values[f"{name}/image_u8"], -3, -1).astype(np.float32) / 255


@pytest.mark.parametrize("name", ["a", pytest.param("b", marks=pytest.mark.slow)])
def test_pictures_give_the_published_elevations(golden, run, name):
    """Ours are positive above the object, the published ones negative; intervals are counted from the other end."""
    values, images = golden.values, pictures(golden.values, name)
    features, found = run(golden.params, images)
    close(features[:, 0], values[f"{name}/x_norm_clstoken"])
    close(features[:, 1:5], values[f"{name}/x_norm_regtokens"])
    close(features[:, 5::8], values[f"{name}/x_norm_patchtokens_every8"])
    close(found.logits, values[f"{name}/logits"][:, ::-1])
    np.testing.assert_array_equal(found.interval, 24 - values[f"{name}/class"])
    np.testing.assert_allclose(found.elevation, -values[f"{name}/elevation"], atol=4e-3)
    np.testing.assert_allclose(found.offset, 2 - values[f"{name}/offset_raw"], atol=2e-4)


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_pictures_are_resized_as_published(golden, name):
    resized = prepare(golden.config, pictures(golden.values, name))
    for ours, stored in ((resized, "resized"), (normalize(resized), "preprocessed")):
        theirs = golden.values[f"{name}/{stored}_stride7"]
        np.testing.assert_allclose(np.moveaxis(ours, -1, 1)[..., 3::7, 3::7], theirs, atol=5e-5 * np.abs(theirs).max())


def test_positions_are_resized_as_published(golden):
    theirs = golden.values["pos_embed_at_16x16"][0]
    backbone = golden.params["backbone"]
    positions = backbone["positions"]["embedding"]
    close(jax.jit(resize_positions, static_argnums=(1, 2))(positions, 16, 16).reshape(256, -1), theirs[1:])
    close(backbone["class_position"]["embedding"], theirs[0])


def test_heads_give_the_published_elevations(golden):
    """Twelve vectors of features, among them such whose offset is cut off at an end of the interval."""
    values = golden.values
    found = apply_heads(golden.config, golden.params, jnp.asarray(values["heads/features"]))
    close(found.logits, values["heads/logits"][:, ::-1])
    np.testing.assert_allclose(found.elevation, -values["heads/elevation"], atol=1e-4)


@pytest.mark.slow
def test_the_loss_is_the_published_one(golden):
    values = golden.values
    images = pictures(values, "loss")
    elevation, azimuth, distance = np.moveaxis(values["loss/cam_pose_rad"], -1, 0)
    poses = np.stack(
        [
            pose_at(-np.degrees(e), np.degrees(a), r)
            for e, a, r in zip(elevation.ravel(), azimuth.ravel(), distance.ravel(), strict=True)
        ]
    ).reshape(*elevation.shape, 4, 4)
    batch = sample_of(images, poses)
    value, metrics = jax.jit(functools.partial(loss, golden.config))(
        golden.params, {}, batch, jax.random.key(0), jnp.asarray(1, jnp.int32)
    )
    for name, stored in (("loss", "loss"), ("class_loss", "loss_cls"), ("offset_loss", "loss_offset")):
        np.testing.assert_allclose(metrics[name], values[f"loss/{stored}"], rtol=1e-4)
    np.testing.assert_allclose(metrics["error"], values["loss/err_degree"], rtol=1e-4)
    assert value == metrics["loss"]


def pose_at(elevation, azimuth=20.0, distance=2.7):
    return orbit(np.asarray([azimuth]), elevation_degrees=float(elevation), distance=float(distance)).camera_to_world[0]


def sample_of(images, poses):
    samples, count = images.shape[:2]
    cameras = Cameras(np.float32(poses), np.ones((samples, count, 4), np.float32))
    flags, domain = np.zeros((samples, count), bool), np.full(samples, OBJECT, np.int32)
    return Batch(Views(images, cameras, flags, domain), None, np.arange(samples, dtype=np.int32))


def test_full_size_has_the_published_number_of_weights():
    shapes = param_shapes(ElevEstConfig())
    assert parameter_count(shapes["backbone"]) == 86_583_552
    assert parameter_count(shapes) == 87_784_730


TINY = ElevEstConfig(
    network=VisionConfig(width=16, layers=1, heads=1, patch_size=8, position_grid=2, registers=1), resolution=16
)


@pytest.mark.slow
def test_views_outside_do_not_count_and_views_over_a_sphere_count_evenly():
    """The error's weights, by an independent sum: 1 / cos of the elevation within −10° to 40°, 0 elsewhere."""
    elevations = np.asarray([-30.0, -10.0, 0.0, 25.0, 39.0, 55.0])
    poses = np.stack([pose_at(elevation) for elevation in elevations])
    np.testing.assert_allclose(camera_elevations(jnp.asarray(poses, jnp.float32)), elevations, atol=1e-3)
    images = np.random.default_rng(0).random((1, 6, 16, 16, 3), np.float32)
    params = jax.jit(functools.partial(family(TINY).init, TINY))(jax.random.key(0))
    for views_are, weights in (
        ("uniform", (elevations >= -10.001) & (elevations <= 40)),
        ("over_sphere", ((elevations >= -10.001) & (elevations <= 40)) / np.cos(np.radians(elevations))),
    ):
        config = ElevEstConfig(network=TINY.network, resolution=16, views_are=views_are, lowest=-10.001)
        found = family(config).predict(config, params, {}, images[0])
        _, metrics = jax.jit(functools.partial(loss, config))(
            params, {}, sample_of(images, poses[None]), jax.random.key(0), jnp.asarray(1)
        )
        by_hand = np.average(np.abs(found["elevation"] - elevations), weights=weights)
        np.testing.assert_allclose(metrics["error"], by_hand, rtol=1e-4)


def test_framing_moves_and_scales_the_object_alone():
    """A grey rectangle anywhere comes to the middle, its larger side a half of the picture."""
    config = ElevEstConfig(network=TINY.network, resolution=64, foreground_ratio=0.5)
    image = np.ones((1, 48, 48, 3), np.float32)
    image[0, 4:20, 30:38] = 0.4
    frame = jax.jit(functools.partial(prepare, config))
    framed = np.asarray(frame(image))[0]
    expected = np.ones((64, 64, 3), np.float32)
    expected[16:48, 24:40] = 0.4
    inner = np.s_[18:46, 26:38]
    np.testing.assert_allclose(framed[inner], 0.4, atol=1e-5)
    assert np.abs(framed - expected).mean() < 0.02 and framed[0, 0, 0] == 1
    np.testing.assert_array_equal(frame(np.ones((1, 48, 48, 3), np.float32)), 1)


def test_settings_that_contradict_each_other_are_one_line():
    module, data = family(TINY), DataConfig(resolution=16, condition_views=0, noisy_views=2, novel_views=0)
    module.check(TINY, data)
    for changes, message in (
        ({"resolution": 20}, "no multiple of network.patch_size"),
        ({"lowest": 50.0}, "no elevations"),
        ({"intervals": 1}, "less than 2"),
        ({"resolution": 32}, "data.resolution 16 must be model.resolution 32"),
    ):
        with pytest.raises(UserError, match=message):
            module.check(ElevEstConfig(network=TINY.network, **({"resolution": 16} | changes)), data)
    with pytest.raises(UserError, match="must be 0"):
        module.check(TINY, DataConfig(resolution=16))
