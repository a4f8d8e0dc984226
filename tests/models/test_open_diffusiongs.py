"""The importer and the network against outputs of the published PyTorch code (tests/golden/README.md)."""

import ast
import dataclasses

import jax
import numpy as np
import pytest

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import OBJECT, SCENE, Cameras, Views
from diffgs_jax.models.diffusion_gs.decoding import split_views
from diffgs_jax.models.diffusion_gs.denoiser import predict_gaussians, raw_gaussians
from diffgs_jax.models.diffusion_gs.published import import_open_diffusiongs

DOMAINS = {"object": OBJECT, "scene": SCENE}

raw_gaussians = jax.jit(raw_gaussians, static_argnums=0)
predict_gaussians = jax.jit(predict_gaussians, static_argnums=0)


def load(folder, domain):
    with np.load(folder / f"open_diffusiongs_{domain}.npz") as file:
        golden = dict(file)
    tensors = {name.removeprefix("sd/"): array for name, array in golden.items() if name.startswith("sd/")}
    return golden, tensors


def views_of(golden, domain):
    images = np.moveaxis(golden["images"], 2, -1)
    batch, count, height, width, _ = images.shape
    intrinsics = golden["fxfycxcy"] / np.asarray([width, height, width, height], np.float32)
    return Views(
        images=np.ascontiguousarray(images),
        cameras=Cameras(golden["c2w"], intrinsics),
        is_condition=np.zeros((batch, count), bool),
        domain=np.full((batch,), DOMAINS[domain], np.int32),
    )


def to_image_order(values, views, patch_size, free):
    """The published order is (v h w ph pw), with the free Gaussians in front; ours is (view, row, column)."""
    batch, count, height, width, _ = views.images.shape
    rows, columns = height // patch_size, width // patch_size
    values = values.reshape(batch, values.shape[1], -1)
    grid = values[:, free:].reshape(batch, count, rows, columns, patch_size, patch_size, -1)
    grid = grid.transpose(0, 1, 2, 4, 3, 5, 6).reshape(batch, count * height * width, -1)
    return np.concatenate([values[:, :free], grid], axis=1)


@pytest.fixture(scope="module", params=["object", "scene"])
def published(request):
    domain = request.param
    golden, tensors = load(request.config.rootpath / "tests" / "golden", domain)
    config, params = import_open_diffusiongs(tensors, domain=domain, head_dim=16)
    return domain, golden, config, params, views_of(golden, domain)


def test_config_is_read_off_the_shapes(published):
    domain, golden, config, _, _ = published
    theirs = ast.literal_eval(str(golden["config"]))
    ours = config.network
    assert ours.width == theirs["width"]
    assert ours.layers == theirs["num_layers"]
    assert ours.width // ours.heads == theirs["dim_heads"]
    assert ours.patch_size == theirs["patch_size"]
    assert ours.free_gaussians == theirs["n_gaussians"]
    assert ours.domains == (domain,) and ours.stride == 1 and not ours.condition_channel


def test_raw_outputs_equal_the_published_ones(published):
    _, golden, config, params, views = published
    raw = raw_gaussians(config, params, views, golden["t"])
    outputs = {
        "xyz": raw.means,
        "features": raw.sh,
        "scaling": raw.log_scales,
        "rotation": raw.rotations,
        "opacity": raw.opacity_logits,
    }
    for name, ours in outputs.items():
        theirs = to_image_order(golden[name], views, config.network.patch_size, config.network.free_gaussians)
        error = np.abs(np.asarray(ours).reshape(theirs.shape) - theirs).max() / np.abs(theirs).max()
        assert error < 1e-5, f"{name} differs by {error:.1e} of its largest value"


def test_pixel_aligned_means_equal_the_published_map(published):
    _, golden, config, params, views = published
    height, width = views.images.shape[2:4]
    means = raw_gaussians(config, params, views, golden["t"]).means
    ours = np.asarray(split_views(config.network, means, height, width))
    theirs = np.moveaxis(golden["img_aligned_xyz"], 2, -1)
    assert np.abs(ours - theirs).max() / np.abs(theirs).max() < 1e-5


def test_published_network_ignores_the_condition_flag(published):
    _, golden, config, params, views = published
    plain = predict_gaussians(config, params, views, golden["t"])
    flagged = views._replace(is_condition=np.ones_like(views.is_condition))
    for before, after in zip(plain, predict_gaussians(config, params, flagged, golden["t"]), strict=True):
        np.testing.assert_array_equal(before, after)


def test_bfloat16_trunk_stays_close(published):
    _, golden, config, params, views = published
    half = dataclasses.replace(config, network=dataclasses.replace(config.network, dtype="bfloat16"))
    exact = raw_gaussians(config, params, views, golden["t"])
    close = raw_gaussians(half, params, views, golden["t"])
    for a, b in zip(exact, close, strict=True):
        assert b.dtype == np.float32
        error = np.linalg.norm(np.asarray(a - b)) / np.linalg.norm(np.asarray(a))
        assert 0 < error < 0.02


def test_all_problems_are_reported_at_once(golden_folder):
    _, tensors = load(golden_folder, "object")
    del tensors["transformer.1.mlp.fc2.bias"]
    tensors["transformer.0.attn.q_norm.weight"] = np.ones(16, np.float32)
    tensors["t_embedder.mlp.0.weight"] = np.ones((64, 128), np.float32)
    with pytest.raises(DataError) as caught:
        import_open_diffusiongs(tensors, domain="object", head_dim=16)
    message = str(caught.value)
    assert "transformer.1.mlp.fc2.bias is missing" in message
    assert "transformer.0.attn.q_norm.weight is unknown" in message
    assert "t_embedder.mlp.0.weight has shape (64, 128) instead of (64, 256)" in message
    assert "\n" not in message


@pytest.mark.parametrize("tensors", [{}, {"image_tokenizer.1.weight": np.zeros(3, np.float32)}])
def test_something_else_entirely_is_refused(tensors):
    with pytest.raises(DataError, match="not an Open-DiffusionGS scene checkpoint"):
        import_open_diffusiongs(tensors, domain="scene")


def test_heads_that_do_not_divide_the_width_are_refused(golden_folder):
    _, tensors = load(golden_folder, "object")
    with pytest.raises(UserError, match="do not divide the width 64"):
        import_open_diffusiongs(tensors, domain="object", head_dim=48)
