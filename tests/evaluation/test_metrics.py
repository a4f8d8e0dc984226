import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from diffgs_jax import evaluation


@pytest.fixture
def pictures():
    """Pairs of all kinds: smooth, noisy, equal in part, with a flat white background; height is not width."""
    random = np.random.default_rng(0)
    ramp = np.linspace(0, 1, 40)[None, :, None] * np.linspace(0.2, 1, 33)[:, None, None] * np.ones(3)
    noise = random.uniform(size=(33, 40, 3))
    white = np.ones((33, 40, 3))
    object_on_white = white.copy()
    object_on_white[8:20, 10:30] = noise[8:20, 10:30]
    shifted = np.roll(object_on_white, 2, axis=1)
    first = np.stack([ramp, noise, object_on_white, object_on_white])
    second = np.stack([np.clip(ramp + 0.1 * noise - 0.05, 0, 1), ramp, shifted, white])
    return first.astype(np.float32), second.astype(np.float32)


def test_psnr_and_ssim_agree_with_scikit_image(pictures):
    first, second = pictures
    psnr, ssim = evaluation.psnr(first, second), evaluation.ssim(first, second)
    for i, (a, b) in enumerate(zip(first.astype(np.float64), second.astype(np.float64), strict=True)):
        assert psnr[i] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1), abs=1e-4)
        expected = structural_similarity(
            a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=-1
        )
        assert ssim[i] == pytest.approx(expected, abs=1e-4)


def test_box_metrics_are_those_of_the_crop(pictures):
    first, second = pictures
    alpha = np.zeros(first.shape[:3], np.float32)
    boxes = [(4, 25, 7, 31), (0, 33, 0, 40), (2, 13, 25, 40), (20, 33, 0, 11)]
    for one, (top, bottom, left, right) in zip(alpha, boxes, strict=True):
        one[top, left] = one[bottom - 1, right - 1] = 0.8
    psnr = evaluation.bounding_box_psnr(first, second, alpha)
    ssim = evaluation.bounding_box_ssim(first, second, alpha)
    for i, (top, bottom, left, right) in enumerate(boxes):
        a, b = (x[i, top:bottom, left:right].astype(np.float64) for x in (first, second))
        with np.errstate(divide="ignore"):  # equal crops
            expected = min(peak_signal_noise_ratio(b, a, data_range=1), evaluation.PSNR_LIMIT)
        assert psnr[i] == pytest.approx(expected, abs=1e-4)
        expected = structural_similarity(
            a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=-1
        )
        assert ssim[i] == pytest.approx(expected, abs=1e-4)


def test_a_box_smaller_than_a_window_is_lengthened_to_one(pictures):
    first, second = pictures
    alpha = np.zeros(first.shape[:3], np.float32)
    alpha[:, 0, 20] = alpha[:, 2, 21] = 1.0  # rows 0 to 3, columns 20 to 22: grows to rows 0 to 11, columns 16 to 27
    alpha[3] = 0.0  # nothing there: the whole picture
    ssim = evaluation.bounding_box_ssim(first, second, alpha)
    np.testing.assert_allclose(ssim[:3], evaluation.ssim(first[:3, :11, 16:27], second[:3, :11, 16:27]), atol=1e-5)
    np.testing.assert_allclose(ssim[3], evaluation.ssim(first[3], second[3]), atol=1e-6)


def test_metrics_of_stacked_batches_are_those_of_each_view(pictures):
    first, second = (array.reshape(2, 2, *array.shape[1:]) for array in pictures)
    np.testing.assert_allclose(evaluation.ssim(first, second)[1, 0], evaluation.ssim(first[1, 0], second[1, 0]), 1e-6)
    np.testing.assert_allclose(evaluation.psnr(first, second)[1, 0], evaluation.psnr(first[1, 0], second[1, 0]), 1e-6)


@pytest.mark.parametrize("offset", [0.1, 0.01])
def test_psnr_of_a_constant_error_is_its_logarithm(offset):
    target = np.full((16, 16, 3), 0.5, np.float32)
    assert evaluation.psnr(target + np.float32(offset), target) == pytest.approx(-20 * np.log10(offset), abs=1e-3)


def test_equal_pictures_stay_finite():
    picture = np.full((16, 16, 3), 0.5, np.float32)
    assert evaluation.psnr(picture, picture) == pytest.approx(evaluation.PSNR_LIMIT)
    assert evaluation.ssim(picture, picture) == pytest.approx(1.0)


def test_bounding_box_is_the_smallest_rectangle():
    alpha = np.zeros((3, 12, 16), np.float32)
    alpha[0, 2, 3] = alpha[0, 7, 11] = 1.0  # two opposite corners; all between them belongs to the box
    alpha[1, 5:7, 4:9] = 0.5  # on the threshold is not above it
    alpha[2, 0, 15] = 0.51
    box = evaluation.bounding_box(jnp.asarray(alpha))
    expected = np.zeros((12, 16), bool)
    expected[2:8, 3:12] = True
    np.testing.assert_array_equal(box[0], expected)
    assert box[1].all()  # no object: the whole picture
    assert box[2].sum() == 1 and box[2, 0, 15]


def test_bounding_box_psnr_reads_the_box_alone():
    random = np.random.default_rng(1)
    target = np.ones((20, 24, 3), np.float32)
    alpha = np.zeros((20, 24), np.float32)
    alpha[4:9, 6:16] = 1.0
    predicted = target.copy()
    predicted[10:] = random.uniform(size=(10, 24, 3))  # wrong, but outside
    predicted[4:9, 6:16] -= 0.2
    assert evaluation.bounding_box_psnr(predicted, target, alpha) == pytest.approx(-20 * np.log10(0.2), abs=1e-3)
    crop = np.s_[4:9, 6:16]
    predicted[crop] = random.uniform(size=(5, 10, 3))
    expected = peak_signal_noise_ratio(target[crop], predicted[crop], data_range=1)
    assert evaluation.bounding_box_psnr(predicted, target, alpha) == pytest.approx(expected, abs=1e-4)


def test_alpha_iou_of_shifted_squares():
    a, b = np.zeros((2, 16, 16), np.float32)
    a[4:8, 4:8] = 0.9
    b[6:10, 4:8] = 0.6
    empty = np.full((16, 16), 0.5, np.float32)
    assert evaluation.alpha_iou(a, b) == pytest.approx(8 / 24)
    assert evaluation.alpha_iou(a, a) == 1
    assert evaluation.alpha_iou(a, empty) == 0
    assert evaluation.alpha_iou(empty, empty) == 1


def test_ssim_of_a_tiny_picture_is_refused():
    with pytest.raises(ValueError, match="11 x 11"):
        evaluation.ssim(np.zeros((8, 8, 3), np.float32), np.zeros((8, 8, 3), np.float32))


def test_metrics_run_under_jit_and_have_finite_gradients(pictures):
    first, second = map(jnp.asarray, pictures)
    for metric in (evaluation.psnr, evaluation.ssim):
        gradient = jax.jit(jax.grad(lambda a, metric=metric: jnp.sum(metric(a, second))))(first)
        assert np.isfinite(gradient).all()
