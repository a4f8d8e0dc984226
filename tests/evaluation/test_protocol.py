import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from balls import SIZE, ball, photograph, shoot

from diffgs_jax import evaluation
from diffgs_jax.diffusion import first_noise, make_sampler, make_schedule
from diffgs_jax.geometry import Gaussians, ObjectRig, denoised_cameras
from diffgs_jax.models import Generated, Progress, Requirements, register
from diffgs_jax.models.losses import lpips, weights_file


@functools.cache
def objects():
    return [
        photograph("red", ball((0.8, 0.1, 0.1), (0.3, 0.2, 0.0)), [10, 100, 200, 300], [0, 40, 21, 20.5]),
        photograph("green", ball((0.1, 0.8, 0.1), (0.0, -0.3, 0.2)), [50, 90, 170], [19, 5, 60]),
        photograph("blue", ball((0.1, 0.1, 0.8), (-0.2, 0.1, 0.3)), [0, 120, 240, 330], [20, 20, -5, 33]),
    ]


def truth(items):
    """The Gaussians of `objects()` in the frame of each one's condition view."""
    balls = [ball((0.8, 0.1, 0.1), (0.3, 0.2, 0.0)), ball((0.1, 0.8, 0.1), (0.0, -0.3, 0.2))]
    balls.append(ball((0.1, 0.1, 0.8), (-0.2, 0.1, 0.3)))
    turned = []
    for one, item in zip(balls, items, strict=True):
        x, y = item.cameras.camera_to_world[item.condition, :2, 3]
        angle = -np.arctan2(y, x)
        turn = np.asarray([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        turned.append(one._replace(means=(one.means @ turn.T).astype(np.float32)))
    return turned


def oracle(items, calls=None):
    """A predictor that knows the answer, to tell errors of the protocol from those of a model."""
    answers = truth(items)

    def gaussians(params, cases):
        assert params == {}
        known = [item.images[item.condition] for item in items]
        indices = [next(i for i, one in enumerate(known) if np.array_equal(one, shown)) for shown in cases[0]]
        if calls is not None:
            calls.append(indices)
        return Gaussians(*(np.stack(leaves) for leaves in zip(*[answers[i] for i in indices], strict=True)))

    def views(made, cameras):
        seen = shoot(made, cameras)
        return evaluation.ViewImages(seen.image, seen.alpha)

    return evaluation.Predictor(gaussians, views)


def test_condition_is_the_view_nearest_the_elevation():
    assert [item.condition for item in objects()] == [3, 0, 0]


def test_views_that_are_shown_beside_the_condition_are_not_asked_for():
    item = objects()[0]._replace(further=(0,))
    assert item.asked.tolist() == [1, 2]
    cases = evaluation.make_cases([item])
    assert cases.target_images.shape[:2] == (1, 2) and cases.further_images.shape[:2] == (1, 1)
    np.testing.assert_array_equal(cases.further_images[0, 0], item.images[0])
    # Both are turned by the same angle, 60 degrees back.
    position = cases.further_cameras.camera_to_world[0, 0, :3, 3]
    assert np.degrees(np.arctan2(position[1], position[0])) == pytest.approx(10 - 300 + 360, abs=1e-3)
    shown = evaluation.ViewImages(*(np.stack([one, other], axis=1) for one, other in _first_two(cases)))
    cameras = jax.tree.map(
        lambda one, others: np.concatenate([one[:, None], others], axis=1),
        cases.condition_cameras,
        cases.further_cameras,
    )
    copied = evaluation.nearest_view(shown, cameras, cameras)
    np.testing.assert_array_equal(copied.image, shown.image)


def _first_two(cases):
    yield cases.condition_images, cases.further_images[:, 0]
    yield cases.condition_alphas, cases.further_alphas[:, 0]


def test_cases_split_views_and_turn_the_world():
    items = objects()
    cases = evaluation.make_cases(items)
    np.testing.assert_allclose(cases.condition_cameras.camera_to_world[:, 1, 3], 0.0, atol=1e-6)
    assert (cases.condition_cameras.camera_to_world[:, 0, 3] > 0).all()
    np.testing.assert_array_equal(cases.is_target, [[True] * 3, [True, True, False], [True] * 3])
    # Azimuths relative to the condition view survive the turn.
    position = cases.target_cameras.camera_to_world[0, :, :3, 3]
    relative = np.degrees(np.arctan2(position[:, 1], position[:, 0])) % 360
    np.testing.assert_allclose(relative, [70, 160, 260], atol=1e-3)


def test_an_oracle_scores_near_perfectly_and_a_stranger_does_not():
    items, calls = objects(), []
    config = evaluation.ProtocolConfig(batch_size=2)
    result = evaluation.evaluate_model(oracle(items, calls), {}, items, config)
    assert calls == [[0, 1], [2, 2]]  # the second batch is filled up
    assert [len(views) for views in result.scores["psnr"]] == [3, 2, 3]
    assert [len(views) for views in result.predictions] == [3, 2, 3]
    means, swapped = evaluation.mean_scores(result.scores), evaluation.mean_scores(result.swapped)
    assert means["bbox_psnr"] > 45 and means["alpha_iou"] > 0.99 and means["ssim"] > 0.99
    assert swapped["bbox_psnr"] < 20


def test_the_same_gaussians_are_scored_at_twice_the_resolution():
    """Views enlarged by repeating pixels are what a predictor that enlarges its views sees."""
    items = objects()

    def enlarge(images):
        return np.repeat(np.repeat(np.asarray(images), 2, axis=-3), 2, axis=-2)

    def read(indices):
        chosen = [items[index] for index in indices]
        return [
            one._replace(images=enlarge(one.images), alphas=enlarge(one.alphas[..., None])[..., 0]) for one in chosen
        ]

    predictor = oracle(items)

    def finer_views(made, cameras):
        seen = predictor.views(made, cameras)
        return evaluation.ViewImages(enlarge(seen.image), enlarge(np.asarray(seen.alpha)[..., None])[..., 0])

    config = evaluation.ProtocolConfig(batch_size=2)
    predictor = predictor._replace(finer_views=finer_views)
    result = evaluation.evaluate_model(predictor, {}, items, config, swap=False, finer=read)
    plain, finer = evaluation.mean_scores(result.scores), evaluation.mean_scores(result.finer)
    assert [len(views) for views in result.finer["psnr"]] == [3, 2, 3]
    assert finer["psnr"] == pytest.approx(plain["psnr"], abs=1e-3)
    assert evaluation.evaluate_model(predictor, {}, items, config, swap=False).finer is None


def test_an_interrupted_evaluation_goes_on_where_it_stopped(tmp_path):
    items, calls = objects(), []
    config = evaluation.ProtocolConfig(batch_size=2)
    whole = evaluation.evaluate_model(oracle(items), {}, items, config)
    gaussians, views, *_ = oracle(items, calls)

    def interrupted(params, cases):
        if len(calls) == 1:
            raise KeyboardInterrupt
        return gaussians(params, cases)

    keep = evaluation.keep_in(tmp_path, "settings")
    with pytest.raises(KeyboardInterrupt):
        evaluation.evaluate_model(evaluation.Predictor(interrupted, views), {}, items, config, keep=keep)
    assert calls == [[0, 1]]
    continued = evaluation.evaluate_model(evaluation.Predictor(gaussians, views), {}, items, config, keep=keep)
    assert calls == [[0, 1], [2, 2]]
    for a, b in zip(jax.tree.leaves(whole[:2]), jax.tree.leaves(continued[:2]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert evaluation.mean_scores(whole.swapped) == evaluation.mean_scores(continued.swapped)


def test_scores_do_not_depend_on_the_batch_size():
    def paint(cases):  # something that differs from object to object and from view to view
        grey = np.asarray(cases.target_cameras.camera_to_world)[..., 0, 3, None, None] / 6 + 0.5
        alpha = np.broadcast_to(grey, (*grey.shape[:2], SIZE, SIZE))
        return evaluation.ViewImages(np.broadcast_to(grey[..., None], (*alpha.shape, 3)), alpha)

    items = objects()
    one = evaluation.evaluate_views(paint, items, evaluation.ProtocolConfig(batch_size=1))
    two = evaluation.evaluate_views(paint, items, evaluation.ProtocolConfig(batch_size=2))
    for name in one.scores:
        for a, b in zip(one.scores[name], two.scores[name], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_lpips_is_scored_where_it_is_asked_for(monkeypatch):
    rng = np.random.default_rng(0)
    weights = {
        "kernels": tuple(rng.normal(0, 0.4, (3, 3, 3 if i == 0 else 4, 4)).astype(np.float32) for i in range(13)),
        "biases": (np.zeros(4, np.float32),) * 13,
        "heads": (np.ones(4, np.float32),) * 5,
    }
    monkeypatch.setattr(evaluation.scoring, "lpips_weights", {"vgg": weights}.__getitem__)
    items = objects()
    config = evaluation.ProtocolConfig(batch_size=2, lpips=("vgg",))
    result = evaluation.evaluate_model(oracle(items), {}, items, config)
    assert [len(views) for views in result.scores["lpips_vgg"]] == [3, 2, 3]
    assert evaluation.mean_scores(result.scores)["lpips_vgg"] < 1e-3

    def paint(cases):
        return evaluation.ViewImages(jnp.full_like(cases.target_images, 0.5), jnp.asarray(cases.target_alphas))

    grey_row = evaluation.evaluate_views(paint, items, config)
    grey = grey_row.scores
    for item, values in zip(items, grey["lpips_vgg"], strict=True):
        truth = np.delete(item.images, item.condition, axis=0)
        np.testing.assert_allclose(values, lpips(weights, np.full_like(truth, 0.5), truth), rtol=1e-4)
    rows = {name: evaluation.mean_scores(scores) for name, scores in [("oracle", result.scores), ("grey", grey)]}
    assert rows["grey"]["lpips_vgg"] > 10 * rows["oracle"]["lpips_vgg"]
    table = evaluation.markdown_table(rows).splitlines()
    assert table[0].endswith("| SSIM | LPIPS (VGG) |") and table[3].endswith(f"| {rows['grey']['lpips_vgg']:.4f} |")
    # Sets: what the oracle paints are the true views, nearly; grey pictures are far from them.
    truth = evaluation.features_of_truth(items, config)
    assert truth["vgg16"].shape == (8, 4)
    near, far = (evaluation.set_distances(row.features, truth) for row in (result, grey_row))
    assert near["fd_vgg16"] < far["fd_vgg16"] / 10 and near["kd_vgg16"] < far["kd_vgg16"]


def test_a_table_leaves_open_what_was_not_measured():
    plain = {"bbox_psnr": 1.0, "psnr": 2.0, "ssim": 0.5, "alpha_iou": 0.25}
    table = evaluation.markdown_table({"a": plain | {"lpips_alex": 0.125}, "b": plain}).splitlines()
    assert table[0].endswith("| LPIPS (Alex) |") and table[2].endswith("| 0.1250 |") and table[3].endswith("| – |")
    assert evaluation.markdown_table({"b": plain}).splitlines()[0].endswith("| SSIM |")


def test_lpips_is_usable_if_installed_and_pictures_are_large_enough(tmp_path):
    assert evaluation.usable_lpips(64) == ()
    (tmp_path / "cache").mkdir()
    for network in ("vgg", "alex"):
        weights_file(network).touch()
    assert [evaluation.usable_lpips(size) for size in (15, 16, 31)] == [(), ("vgg",), ("vgg", "alex")]


@pytest.mark.parametrize("count", [2, 3, 8, 31])
def test_derangement_moves_everything(count):
    order = evaluation.derangement(count)
    assert sorted(order) == list(range(count))
    assert (order != np.arange(count)).all()


class NoiseFamily:
    """Its Gaussians are the mean noise that the sampler began with, and the mean colour of the condition view."""

    @staticmethod
    def requirements(config):
        return Requirements(makes="gaussians")

    @staticmethod
    def generate(config, params, frozen, request, sampling, keys):
        noise = first_noise(keys, (4, 4, 3)).mean(axis=(1, 2))
        color = jnp.mean(request.condition.images[:, 0], axis=(1, 2)) + params
        made = Gaussians(*(jnp.stack([noise, color], axis=1)[..., None],) * 5)
        yield Progress(1, 1, Generated(gaussians=made))


@dataclasses.dataclass(frozen=True)
class NoiseConfig:
    """Settings of the family above."""


def test_objects_are_shown_their_condition_and_start_from_the_noise_of_the_seed():
    """What an object becomes may not depend on which others share its batch: it is what `sample --seed` makes of it."""
    register("noise", NoiseConfig, NoiseFamily)
    cases = evaluation.make_cases(objects())
    rig = denoised_cameras(ObjectRig())

    def predictor(seed):
        config = evaluation.ProtocolConfig(seed=seed)
        return evaluation.make_predictor(NoiseConfig(), {}, make_sampler(make_schedule(), "ddim", 1), rig, SIZE, config)

    together = predictor(3).gaussians(0.0, cases)
    alone = predictor(3).gaussians(0.0, jax.tree.map(lambda leaf: leaf[2:], cases))
    np.testing.assert_allclose(together.means[2], alone.means[0], atol=1e-6)
    np.testing.assert_allclose(together.means[:, 1, :, 0], cases.condition_images.mean((1, 2)), atol=1e-5)
    expected = jax.random.normal(jax.random.split(jax.random.key(3))[0], (1, 4, 4, 3)).mean(axis=(1, 2))
    np.testing.assert_allclose(together.means[:, 0, :, 0], np.repeat(expected, 3, axis=0), atol=1e-6)
    other = predictor(4).gaussians(0.0, cases)
    assert np.abs(np.asarray(other.means) - np.asarray(together.means))[:, 0].min() > 0
