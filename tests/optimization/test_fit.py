import jax
import jax.numpy as jnp
import numpy as np
import pytest
from known import SIDE, known_splat
from scipy.ndimage import maximum_filter
from skimage.metrics import structural_similarity

from diffgs_jax.datasets.reprojection import look_up, project_points
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.evaluation import psnr
from diffgs_jax.geometry import Cameras, Gaussians
from diffgs_jax.optimization import (
    FitConfig,
    Plan,
    RelocationGrowth,
    choose,
    decode_images,
    fit,
    from_gaussians,
    initial_gaussians,
    initial_state,
    knobs_of,
    outside_silhouettes,
    read_state,
    run_steps,
    to_gaussians,
    write_state,
)
from diffgs_jax.rasterizer import render_dense

FITTED, HELD_OUT = [i for i in range(16) if i % 4], [0, 4, 8, 12]
CONFIG = FitConfig(
    steps=400,
    capacity=48,
    start_count=32,
    sh_degree=1,
    growth_every=50,
    growth_from=50,
    by_relocation=RelocationGrowth(growth=0.2),
)


@pytest.fixture(scope="module")
def images(record):
    return decode_images(record)


@pytest.fixture(scope="module")
def fitted(images):
    """All that an uninterrupted fit yields."""
    return list(fit(choose(images, FITTED), start(images), CONFIG))


def start(images):
    gaussians = initial_gaussians(choose(images, FITTED), CONFIG)
    return initial_state(*from_gaussians(gaussians, CONFIG.capacity, CONFIG.sh_degree))


@pytest.mark.slow
def test_a_fit_recovers_a_known_splat(images, fitted):
    last = fitted[-1]
    assert [now.count for now in fitted][:3] == [38, 45, 48]
    assert last.step == 400 and 40 <= last.count <= 48
    held_out = choose(images, HELD_OUT)
    gaussians = to_gaussians(last.state.parameters, last.state.is_used)
    shoot = jax.jit(lambda cameras: render_dense(gaussians, cameras, height=SIDE, width=SIDE).image)
    pixels = held_out.pixels / np.float32(255)
    truth = pixels[..., :3] + 1 - pixels[..., 3:]
    scores = np.asarray(psnr(shoot(Cameras(*map(jnp.asarray, held_out.cameras))), truth))
    assert scores.mean() > 30, scores


@pytest.mark.slow
def test_a_fit_goes_on_from_a_file_to_the_same_end(images, fitted, tmp_path):
    saved = next(now for now in fitted if now.step == 200)
    write_state(tmp_path / "state.npz", saved.state, {"seconds": 1.5})
    state, about = read_state(tmp_path / "state.npz", start(images))
    assert about == {"seconds": 1.5}
    *_, last = fit(choose(images, FITTED), state, CONFIG, pause_every=70)
    for ours, theirs in zip(jax.tree.leaves(last.state), jax.tree.leaves(fitted[-1].state), strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))

    stored = (tmp_path / "state.npz").read_bytes()
    (tmp_path / "state.npz").write_bytes(stored[: len(stored) // 2])
    with pytest.raises(DataError, match="is damaged"):
        read_state(tmp_path / "state.npz", state)


def test_gradients_are_those_of_finite_differences(images):
    """Adam's first moment after one step is a tenth of the gradient of the loss that float64 and scikit-image give."""
    config = FitConfig(growth="none", random_background=False)
    parameters, is_used = from_gaussians(known_splat(), CONFIG.capacity, CONFIG.sh_degree)
    parameters = parameters._replace(logits=parameters.logits - 0.7)  # or the loss would be at its kink
    shown = choose(images, FITTED)
    plan = Plan(np.full((100, 1), 3, np.int32), np.zeros(100, np.float32))
    after, value = run_steps(initial_state(parameters, is_used), shown, plan, 1, 0, jax.random.key(0), knobs_of(config))
    gradient = jax.tree.map(lambda leaf: 10 * np.asarray(leaf), after.moments.mu)

    pixels = shown.pixels[3] / 255.0
    truth = pixels[..., :3] + 1 - pixels[..., 3:]
    with jax.enable_x64(True):
        camera = Cameras(*(jnp.asarray(leaf[3], jnp.float64) for leaf in shown.cameras))
        shoot = jax.jit(lambda gaussians: render_dense(gaussians, camera, height=SIDE, width=SIDE).image)

        def loss(parameters):
            means, log_scales, rotations, logits, sh_dc, _ = (leaf[:12] for leaf in parameters)
            gaussians = Gaussians(means, rotations, np.exp(log_scales), 1 / (1 + np.exp(-logits)), sh_dc)
            image = np.asarray(shoot(gaussians))
            options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
            # scikit-image pads; only windows that lie wholly inside count here.
            _, every = structural_similarity(image, truth, channel_axis=-1, full=True, **options)
            return 0.8 * np.abs(image - truth).mean() + 0.2 * (1 - every[5:-5, 5:-5].mean())

        exact = [np.asarray(leaf, np.float64) for leaf in parameters]
        assert float(value) == pytest.approx(loss(exact), rel=1e-4)
        places = [(0, (0, 1)), (1, (2, 0)), (2, (3, 2)), (3, (5,)), (4, (7, 0, 1)), (0, (9, 2))]
        for leaf, place in places:
            ends = []
            for move in (1e-5, -1e-5):
                moved = [each.copy() for each in exact]
                moved[leaf][place] += move
                ends.append(loss(moved))
            difference = (ends[0] - ends[1]) / 2e-5
            largest = float(np.abs(gradient[leaf]).max())
            assert gradient[leaf][place] == pytest.approx(difference, rel=0.02, abs=0.005 * largest), (leaf, place)


def test_images_beyond_the_memory_are_refused(record):
    with pytest.raises(UserError, match=r"16 images of 24×24 take .*more than --memory 1e-05 .*--resolution 12"):
        decode_images(record, memory=1e-5)
    with pytest.raises(UserError, match="at least 11 pixels"):
        decode_images(record, 8)


def test_starts_that_the_images_do_not_allow_are_refused(images):
    opaque = images._replace(pixels=np.concatenate([images.pixels[..., :3], images.pixels[..., :1] | 255], -1))
    with pytest.raises(UserError, match="--start hull needs"):
        initial_gaussians(opaque, FitConfig(start="hull"))
    with pytest.raises(UserError, match="--start depth needs"):
        initial_gaussians(images, FitConfig(start="depth"))


def test_the_start_lies_where_the_silhouettes_allow(images):
    found = initial_gaussians(images, FitConfig(start="hull", capacity=400))
    assert found.means.shape == (300, 3) and (found.scales > 0).all()
    for pixels, pose, intrinsics in zip(images.pixels, *images.cameras, strict=True):
        places, depth = project_points(found.means, pose, intrinsics)
        near = maximum_filter(pixels[..., 3], size=3).astype(
            np.float32
        )  # a point may be anywhere in its voxel, which is half a pixel
        assert (depth > 0).all() and (look_up(near, places) >= 64).all()


def test_what_images_see_in_the_background_is_outside(images):
    points = np.concatenate([known_splat().means, [[0.0, 0.0, 5.0], [0.9, 0.9, 0.6], [40.0, 0.0, 0.0]]])
    found = outside_silhouettes(points.astype(np.float32), images)
    np.testing.assert_array_equal(found, np.arange(15) >= 12)
    opaque = images._replace(pixels=np.concatenate([images.pixels[..., :3], images.pixels[..., :1] | 255], -1))
    assert not outside_silhouettes(points, opaque).any()
    # Silhouettes that say next to nothing: what the cameras do not look at is outside all the same, though many see it.
    opaque.pixels[:, 0, 0, 3] = 0
    near_and_far = np.asarray([[0.9, 0.0, 0.0], [1.5, 0.0, 0.0]], np.float32)
    np.testing.assert_array_equal(outside_silhouettes(near_and_far, opaque), [False, True])


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"sh_degree": 4}, {"start_count": 5000}, {"growth_until": 2.0}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UserError):
        FitConfig(**wrong).checked()
