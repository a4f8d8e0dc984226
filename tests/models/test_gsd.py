"""gsd: sets of Gaussians as numbers, a network that knows no order, and views that guide."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.config import from_dict, load_config, to_dict
from diffgs_jax.data import DataConfig, Record, encode_record, training_batches
from diffgs_jax.data.images import encode_webp
from diffgs_jax.data.records import decode_record
from diffgs_jax.data.store import write_store
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import OBJECT, Cameras, Gaussians, Views, covariances, orbit
from diffgs_jax.models import Request, family
from diffgs_jax.models.gaussian_sets import (
    UNUSED,
    ChannelStatistics,
    channel_statistics,
    denormalized,
    gaussians_of_set,
    normalized,
    set_of_gaussians,
)
from diffgs_jax.models.generation import make_denoiser
from diffgs_jax.models.gsd import GSDConfig, SetNetworkConfig, SetStatistics, ViewGuidanceConfig, read_statistics
from diffgs_jax.models.gsd.network import apply_network, init_params
from diffgs_jax.rasterizer import render_dense

CONFIG = GSDConfig(gaussians=12, network=SetNetworkConfig(width=16, layers=2, heads=2), classes=2)
NEEDS = family(CONFIG).requirements(dataclasses.replace(CONFIG, classes=0))
SIZE = 12


def random_gaussians(count=10, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(count, 3), (count, 4), (count, 3), (count,), (count, 1, 3)]
    means, rotations, scales, opacities, sh = (rng.normal(0, 0.3, shape).astype(np.float32) for shape in shapes)
    return Gaussians(means, 3 * rotations, 0.1 + np.abs(scales) / 3, 0.2 + np.abs(opacities) % 0.7, sh)


def test_a_set_as_numbers_is_the_same_set():
    gaussians = random_gaussians()
    numbers = set_of_gaussians(gaussians)
    assert numbers.shape == (10, 14) and (numbers[:, 6] >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(numbers[:, 6:10], axis=1), 1, atol=1e-6)
    again = jax.jit(gaussians_of_set)(numbers)
    for name in ("means", "scales", "opacities", "sh"):
        np.testing.assert_allclose(getattr(again, name), getattr(gaussians, name), atol=1e-5)
    spread = jax.jit(covariances)
    np.testing.assert_allclose(
        spread(again.rotations, again.scales), spread(gaussians.rotations, gaussians.scales), atol=1e-5
    )
    negated = gaussians._replace(rotations=-np.asarray(gaussians.rotations))
    np.testing.assert_array_equal(set_of_gaussians(negated), numbers)


def test_what_nothing_draws_is_no_part_of_a_set():
    gaussians = random_gaussians()
    opacities = np.array(gaussians.opacities)
    opacities[3:] = 0.001
    assert len(set_of_gaussians(gaussians._replace(opacities=opacities))) == 3
    with pytest.raises(DataError, match="no Gaussian that can be seen"):
        set_of_gaussians(gaussians._replace(opacities=0 * opacities))
    with pytest.raises(DataError, match="not finite"):
        set_of_gaussians(gaussians._replace(means=np.full((10, 3), np.nan)))


def test_numbers_are_normalised_and_unused_slots_stay_invisible():
    sets = [set_of_gaussians(random_gaussians(seed=seed)) for seed in range(4)]
    statistics = channel_statistics(sets)
    padded = np.full((4, 12, 14), np.nan, np.float32)
    padded[:, :10] = sets
    x = np.asarray(normalized(padded, statistics))
    np.testing.assert_allclose(x[:, :10].reshape(-1, 14).mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(x[:, :10].reshape(-1, 14).std(axis=0), 1, atol=1e-3)
    back = np.asarray(denormalized(x, statistics))
    np.testing.assert_allclose(back[:, :10], padded[:, :10], atol=1e-4)
    np.testing.assert_allclose(back[:, 10:, 10], UNUSED, atol=1e-4)
    assert np.asarray(gaussians_of_set(back).opacities)[:, 10:].max() < 1 / 255
    with pytest.raises(DataError, match="number 2 is the same"):
        channel_statistics([np.where(np.arange(14) == 2, 1.0, sets[0]).astype(np.float32)])


@functools.partial(jax.jit, static_argnums=0)
def applied(config, params, x, t, classes):
    return apply_network(config, params, x, t, classes)


def scrambled(params, seed=1):
    """Weights as training leaves them: gates of a new network are closed, and it would be linear."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: leaf + rng.normal(0, 0.2, leaf.shape).astype(np.float32), params)


@pytest.mark.slow
def test_the_network_is_equivariant_under_permutations():
    params = scrambled(jax.jit(functools.partial(init_params, CONFIG))(jax.random.key(0)))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 12, 14)).astype(np.float32)
    order = rng.permutation(12)
    t, classes = np.array([10, 900], np.int32), np.array([0, 2], np.int32)
    out = np.asarray(applied(CONFIG, params, x, t, classes))
    permuted = np.asarray(applied(CONFIG, params, x[:, order], t, classes))
    np.testing.assert_allclose(permuted, out[:, order], atol=1e-4)
    assert np.abs(permuted - out).max() > 0.1
    # Every Gaussian hears of every other, of the time and of the class
    for changed in (
        applied(CONFIG, params, x + (np.arange(12) == 5)[None, :, None].astype(np.float32), t, classes),
        applied(CONFIG, params, x, t + 50, classes),
        applied(CONFIG, params, x, t, 2 - classes),
    ):
        assert (np.abs(np.asarray(changed) - out).max(axis=2) > 1e-5).all()


def views_of(gaussians, count=1):
    cameras = Cameras(*(np.asarray(leaf)[None] for leaf in orbit(np.arange(count) * 90.0)))
    one = Gaussians(*(np.asarray(leaf)[None] for leaf in gaussians))
    image = jax.jit(functools.partial(render_dense, height=SIZE, width=SIZE))(one, cameras).image
    return Views(np.asarray(image), cameras, np.ones((1, count), bool), np.full(1, OBJECT, np.int32))


@pytest.mark.slow
@pytest.mark.parametrize("through", ["prediction", "denoiser"])
def test_given_views_pull_the_predicted_set_towards_them(through):
    config = dataclasses.replace(CONFIG, classes=0, guidance=ViewGuidanceConfig(scale=0.05, through=through))
    module = family(config)
    params = jax.jit(functools.partial(init_params, config))(jax.random.key(0))
    views = views_of(random_gaussians())
    request = Request(SIZE, np.zeros(1, np.int32), views)

    @jax.jit
    def lacks(params, request):
        x_t, t = jax.random.normal(jax.random.key(1), (1, 12, 14)), jnp.full((1,), 300, jnp.int32)
        found = []
        for one in (config, module.with_view_guidance(config, 0.0)):
            x0 = make_denoiser(one, params, {}, request)(x_t, t).x0
            shown = module.decode(one, params, {}, request, x0, None).views
            found.append(jnp.sum((shown.images[:, 0] - views.images[:, 0]) ** 2))
        return found

    guided, free = map(float, lacks(params, request))
    assert guided < free


def fitted_store(folder, sets):
    def records():
        for number, numbers in enumerate(sets):
            image = encode_webp(np.full((8, 8, 4), 255, np.uint8))
            record = Record(f"r{number}", "object", [image] * 2, orbit(np.arange(2) * 90.0), gaussians=numbers)
            yield record.uid, lambda record=record: encode_record(record)

    statistics = channel_statistics([numbers for numbers in sets if numbers is not None])
    write_store(folder, {"train": list(records())}, {"gaussians": statistics._asdict()})
    return folder


DATA = DataConfig(
    resolution=8, batch_size=2, threads=0, condition_views=0, noisy_views=1, novel_views=0, object_frame="record",
    max_bad_records=0,
)  # fmt: skip


def first_batch(path, **changes):
    batches = training_batches(dataclasses.replace(DATA, path=str(path), **changes), requirements=NEEDS)
    return next(batches)


def test_batches_have_the_records_sets(tmp_path):
    sets = [set_of_gaussians(random_gaussians(count, seed=count)) for count in (4, 12)]
    path = fitted_store(tmp_path / "store", sets)
    batch = first_batch(path)
    for number, found in zip(batch.record, batch.gaussians, strict=True):
        count = len(sets[number])
        np.testing.assert_array_equal(found[:count], sets[number])
        assert np.isnan(found[count:]).all()
    statistics = read_statistics(path)
    assert ChannelStatistics(statistics.mean, statistics.std) == channel_statistics(sets)


def test_sets_that_do_not_fit_are_refused(tmp_path):
    large = fitted_store(tmp_path / "large", [set_of_gaussians(random_gaussians(13))])
    with pytest.raises(DataError, match="holds a set of 13 Gaussians; the model has 12 slots"):
        first_batch(large)
    none = fitted_store(tmp_path / "none", [None, set_of_gaussians(random_gaussians())])
    with pytest.raises(DataError, match="r0 .* holds no fitted Gaussians: make some with scripts/gsd/fit_objects.py"):
        for _ in range(3):
            first_batch(none, seed=_)
    with pytest.raises(UserError, match="set data.object_frame record"):
        first_batch(large, object_frame="first_view")


def test_records_without_sets_are_written_as_before():
    image = encode_webp(np.full((8, 8, 4), 255, np.uint8))
    record = Record("a", "object", [image], orbit(np.zeros(1)))
    assert b"gaussians" not in encode_record(record)
    numbers = set_of_gaussians(random_gaussians())
    np.testing.assert_array_equal(decode_record(encode_record(record._replace(gaussians=numbers))).gaussians, numbers)


def test_statistics_come_from_a_store_of_sets(tmp_path):
    with pytest.raises(UserError, match="index.json"):
        read_statistics(tmp_path)
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(DataError, match="not that of a store of scripts/gsd/fit_objects.py"):
        read_statistics(tmp_path)
    (tmp_path / "index.json").write_text(json.dumps({"gaussians": {"mean": [0] * 14, "std": [0] * 14}}))
    with pytest.raises(DataError, match="14 deviations above 0"):
        read_statistics(tmp_path)


def test_the_recipe_takes_the_statistics_of_its_sets(request, tmp_path, monkeypatch):
    recipe = request.config.rootpath / "configs" / "gsd" / "furniture.py"
    monkeypatch.chdir(tmp_path)
    assert load_config(recipe).model.statistics == SetStatistics()
    (tmp_path / "data").mkdir()
    sets = [set_of_gaussians(random_gaussians(seed=seed)) for seed in range(2)]
    fitted_store(tmp_path / "data" / "furniture_sets", sets)
    config = load_config(recipe)
    assert config.model.statistics.mean == channel_statistics(sets).mean
    family(config.model).check(config.model, config.data)
    assert from_dict(to_dict(config)) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gaussians": 0}, "model.gaussians = 0 is less than 1"),
        ({"prediction": "flow"}, "model.prediction flow goes with the schedule flow"),
        ({"classes": 0, "condition_dropout": 0.1}, "hides classes, and model.classes is 0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, message):
    config = dataclasses.replace(CONFIG, **({"classes": 0} | changes))
    with pytest.raises(UserError, match=message):
        family(config).check(config, DATA)
