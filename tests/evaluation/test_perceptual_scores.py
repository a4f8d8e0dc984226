import numpy as np
import pytest
from PIL import Image

from diffgs_jax import evaluation
from diffgs_jax.models.losses import features, lpips

SIZE = 32


@pytest.fixture
def views():
    rng = np.random.default_rng(1)
    alpha = np.zeros((3, SIZE, SIZE), np.float32)
    alpha[0, 4:20, 8:16] = 1.0  # higher than wide
    alpha[1, 30:, 2:9] = 1.0  # at the border: the square is moved inside
    first, second = rng.uniform(size=(2, 3, SIZE, SIZE, 3)).astype(np.float32)
    return first, second, alpha


def test_square_around_is_the_crop_enlarged(views):
    image, _, alpha = views
    found = np.asarray(evaluation.square_around(image, alpha))
    for index, (top, left, side) in enumerate([(4, 4, 16), (25, 2, 7)]):
        # Pillow interpolates within the box alone, so the outermost ring may differ.
        channels = [
            np.asarray(
                Image.fromarray(image[index, ..., c]).resize(
                    (SIZE, SIZE), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
                )
            )
            for c in range(3)
        ]
        edge = -(-SIZE // side)
        inner = np.s_[edge:-edge, edge:-edge]
        np.testing.assert_allclose(found[index][inner], np.stack(channels, -1)[inner], atol=1e-5)
    np.testing.assert_allclose(found[2], image[2], atol=1e-6)  # no object: the whole picture


@pytest.mark.slow
def test_scores_are_those_of_pictures_and_of_crops(weights, views):
    first, second, alpha = views
    looks = evaluation.perceptual_scores({"vgg": weights}, first * 1.2 - 0.1, second, alpha)
    first = np.clip(first * 1.2 - 0.1, 0, 1)
    np.testing.assert_allclose(looks.scores["lpips_vgg"], lpips(weights, first, second), rtol=1e-4)
    crops = [evaluation.square_around(image, alpha) for image in (first, second)]
    np.testing.assert_allclose(looks.scores["bbox_lpips_vgg"], lpips(weights, *crops), rtol=1e-4)
    pooled = np.mean(features(weights, first)[-1], axis=(1, 2))
    np.testing.assert_allclose(looks.features["vgg16"], pooled, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(evaluation.vgg_features(weights, first), pooled, rtol=1e-4, atol=1e-6)


def test_scenes_are_compared_as_whole_pictures(weights, views):
    first, second, _ = views
    assert set(evaluation.perceptual_scores({"vgg": weights}, first, second, None).scores) == {"lpips_vgg"}
