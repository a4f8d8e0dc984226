"""gsrecon beyond the golden files: frames, what it says of cameras and maps, the losses of surfaces."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import (
    OBJECT,
    Similarity,
    Views,
    inverse_similarity,
    moved_cameras,
    moved_gaussians,
    orbit,
    similarity_between,
)
from diffgs_jax.models import Batch, Request, Sampling, family
from diffgs_jax.models.gsrecon import PUBLISHED_FRAME, GSReconConfig, ReconstructionLossConfig, ReconstructorConfig

SIDE = 16
TINY = GSReconConfig(
    network=ReconstructorConfig(width=16, layers=1, heads=1, hidden=16, stride=4), frame=PUBLISHED_FRAME
)


@pytest.fixture(scope="module")
def params():
    fresh = jax.jit(functools.partial(family(TINY).init, TINY))(jax.random.key(0))
    random = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: leaf + 0.1 * random.normal(size=leaf.shape).astype(np.float32), fresh)


def request(cameras, **maps):
    images = np.random.default_rng(1).uniform(size=(1, 4, SIDE, SIDE, 3)).astype(np.float32)
    cameras = jax.tree.map(lambda leaf: np.asarray(leaf)[None], cameras)
    views = Views(images, cameras, np.ones((1, 4), bool), np.full(1, OBJECT, np.int32), **maps)
    return Request(SIDE, np.full(1, OBJECT, np.int32), views)


def splat(config, params, asked):
    *_, last = family(config).generate(config, params, {}, asked, Sampling(), jax.random.split(jax.random.key(0), 1))
    return jax.tree.map(lambda leaf: np.asarray(leaf[0]), last.generated.gaussians)


def test_turned_and_scaled_cameras_turn_and_scale_the_splat(params, capsys):
    """In the published frame, which is as large as the first camera is far away."""
    cameras, angle = orbit(np.arange(4) * 90.0), np.radians(70.0)
    turn = np.asarray([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    world = Similarity(turn.astype(np.float32), np.float32(2.5), np.zeros(3, np.float32))
    here = splat(TINY, params, request(cameras))
    there = splat(TINY, params, request(moved_cameras(world, cameras)))
    expected = moved_gaussians(world, here)
    for name in ("means", "scales", "opacities", "sh"):
        values = getattr(expected, name)
        np.testing.assert_allclose(getattr(there, name), values, atol=1e-4 * np.abs(values).max(), err_msg=name)
    np.testing.assert_allclose(np.abs(np.sum(there.rotations * np.asarray(expected.rotations), -1)), 1, atol=1e-4)
    assert capsys.readouterr().err == ""


def test_rebuilding_a_camera_that_is_rolled_is_told(params, capsys):
    cameras = orbit(np.arange(4) * 90.0)
    angle, roll = np.radians(3.0), np.eye(4, dtype=np.float32)
    roll[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    rolled = cameras._replace(camera_to_world=cameras.camera_to_world @ roll)
    assert (splat(TINY, params, request(rolled)).means == splat(TINY, params, request(cameras)).means).all()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "3.0 degrees off" in lines[0]


def test_similarities_are_undone_and_found():
    random = np.random.default_rng(2)
    turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
    one = Similarity(
        (turn * np.linalg.det(turn)).astype(np.float32), np.float32(1.7), random.normal(size=3).astype(np.float32)
    )
    cameras = orbit(np.arange(3) * 50.0)
    back = moved_cameras(inverse_similarity(one), moved_cameras(one, cameras))
    np.testing.assert_allclose(back.camera_to_world, cameras.camera_to_world, atol=1e-5)
    found = similarity_between(cameras, moved_cameras(one, cameras))
    for ours, theirs in zip(found, one, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_maps_that_are_missing_or_of_other_units_are_refused(params):
    config = dataclasses.replace(TINY, network=dataclasses.replace(TINY.network, maps=("normals", "coordinates")))
    cameras = orbit(np.arange(4) * 90.0)
    normals = np.full((1, 4, SIDE, SIDE, 3), np.nan, np.float32)
    with pytest.raises(UserError, match="shown normals beside pictures"):
        splat(config, params, request(cameras))
    with pytest.raises(UserError, match="shown coordinates beside pictures"):
        splat(config, params, request(cameras, normals=normals))
    depth = np.full((1, 4, SIDE, SIDE), 2700.0, np.float32)
    with pytest.raises(DataError, match=r"depth of view 0 is 2\.7e\+03 to 2\.7e\+03 .* 2\.7 from"):
        splat(config, params, request(cameras, normals=normals, depths=depth))


def test_a_model_says_what_does_not_go_together():
    class Data:
        resolution, background, condition_views, noisy_views, novel_views, labels = 16, 1.0, 4, 0, 1, ()
        fewest_condition_views = None

    check = family(TINY).check
    check(TINY, Data)
    for change, message in (
        ({"views": 3}, "condition_views 4 must be model.views 3"),
        ({"background": 0.5}, "must be equal"),
        ({"network": ReconstructorConfig(heads=3)}, "heads = 3 does not divide"),
        ({"network": ReconstructorConfig(maps=("metallic_roughness",))}, "records do not hold"),
    ):
        with pytest.raises(UserError, match=message):
            check(dataclasses.replace(TINY, **change), Data)


@pytest.mark.slow
def test_losses_of_surfaces_have_finite_gradients(params):
    """Also where views know nothing of the surface (NaN)."""
    config = dataclasses.replace(
        TINY, losses=ReconstructionLossConfig(perceptual=0.0, coordinates=1.0, normals=1.0, supervised_inputs=2)
    )
    views = request(
        orbit(np.arange(4) * 90.0),
        alphas=np.ones((1, 4, SIDE, SIDE), np.float32),
        depths=np.where(np.arange(SIDE) < 8, 2.7, np.nan)[None, None, None].repeat(4, 1).repeat(SIDE, 2).astype("f4"),
        normals=np.full((1, 4, SIDE, SIDE, 3), np.nan, np.float32),
    ).condition
    batch = Batch(views, views, np.zeros(1, np.int32))
    loss = functools.partial(family(config).loss, config)
    (value, metrics), slopes = jax.jit(jax.value_and_grad(loss, has_aux=True))(
        params, {}, batch, jax.random.key(0), jnp.asarray(0)
    )
    assert {"image", "alpha", "coordinates", "normals", "psnr", "loss"} == set(metrics)
    assert np.isfinite(value) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
