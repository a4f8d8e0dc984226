"""Zero-1-to-3, held against a network of PyTorch's modules with random weights (`scripts/zero123/make_golden.py`)."""

import dataclasses
import functools
import importlib.util
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import tiny_stable_diffusion

from diffgs_jax.checkpoints import load_weights
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import OBJECT, Cameras, Views, look_at, orbit
from diffgs_jax.models import Batch, family
from diffgs_jax.models.bundles import Request, request_of
from diffgs_jax.models.gsvae.network import encode_posterior
from diffgs_jax.models.importing import ImportOptions, open_published
from diffgs_jax.models.layers.clip_vision import encode_clip_images
from diffgs_jax.models.layers.latent_unet.compvis import as_diffusers
from diffgs_jax.models.layers.latent_unet.config import LatentUNetConfig
from diffgs_jax.models.zero123 import PatchEncoderConfig, Zero123Config
from diffgs_jax.models.zero123 import family as zero123
from diffgs_jax.models.zero123.loss import latents_of, shown_conditions, split_given
from diffgs_jax.models.zero123.network import (
    apply_unet,
    camera_features,
    feature_width,
    init_params,
    param_shapes,
    project,
)
from diffgs_jax.models.zero123.published import state_dict as read_state
from diffgs_jax.weights import nested, open_tensors
from diffgs_jax.weights.adapting import below

ROOT = pathlib.Path(__file__).parents[2]
CHECKPOINT = ROOT / "tests" / "golden" / "zero123.ckpt"
OPTIONS = ImportOptions(image_vae="models/image_vae", head_dim=8)
SMALL = Zero123Config(
    unet=LatentUNetConfig(channels=(8, 16), blocks=1, depths=(0, 1), heads=(1, 2), groups=4, text_width=8),
    encoder="learned",
    patches=PatchEncoderConfig(patch_size=4, width=8),
    channels=3,
    downsampling=1,
    latent_scale=1.0,
)


@functools.cache
def golden():
    with np.load(ROOT / "tests" / "golden" / "zero123.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def imported():
    """The settings and weights of the published form."""
    model = zero123.import_published(open_published(CHECKPOINT), OPTIONS)
    paths = [tuple(key.key for key in path) for path, _ in jax.tree_util.tree_flatten_with_path(model.shapes)[0]]
    return model.config, nested((path, model.read(path)) for path in paths)


def pictures(name):
    """`[n, 1, h, w, c]` of `[n, c, h, w]`."""
    return np.moveaxis(golden()[name], 1, -1)[:, None]


def cameras_at(positions):
    """Cameras `[n, 1]` that look at the origin."""
    return Cameras(look_at(positions)[:, None].astype(np.float32), np.ones((len(positions), 1, 4), np.float32))


def test_what_the_network_is_told_of_cameras_is_what_the_published_code_tells():
    told = camera_features(cameras_at(golden()["given"]), cameras_at(golden()["targets"]), 1.0)
    np.testing.assert_allclose(told[:, 0], golden()["told"], atol=2e-6)


def test_the_published_checkpoint_gives_its_features_token_and_noise(imported):
    config, params = imported
    assert (config.channels, config.clip.resolution, config.clip.heads, config.unet.depths) == (4, 12, 2, (1, 0))
    images = (np.moveaxis(golden()["images"], 1, -1) + 1) / 2
    features = jax.jit(encode_clip_images, static_argnums=0)(config.clip, params["image_encoder"], images)
    np.testing.assert_allclose(features, golden()["features"], atol=2e-5)
    told = golden()["told"][:, None]
    token = project(params, jnp.asarray(golden()["features"])[:, None], jnp.asarray(told))
    np.testing.assert_allclose(token[:, 0], golden()["token"], atol=1e-5)
    run = jax.jit(apply_unet, static_argnums=0)
    times = golden()["timesteps"][:, None]
    latents, picture = pictures("latents"), pictures("picture")
    out = run(config, params, latents, times, token, picture)
    np.testing.assert_allclose(out, pictures("out"), atol=2e-4)
    # Without a condition the whole token is zero; training leaves the camera in a token without features.
    null = run(config, params, latents, times, jnp.zeros_like(token), jnp.zeros_like(picture))
    np.testing.assert_allclose(null, pictures("out_null"), atol=2e-4)
    shown = shown_conditions(0.05, jnp.asarray(golden()["u"])[:, None])
    dropped = project(
        params, jnp.where(shown.features[..., None], golden()["features"][:, None], 0.0), jnp.asarray(told)
    )
    kept = jnp.where(shown.picture[..., None, None, None], picture, 0.0)
    np.testing.assert_allclose(run(config, params, latents, times, dropped, kept), pictures("out_dropped"), atol=2e-4)


@pytest.mark.slow
def test_a_folder_of_diffusers_gives_the_same(imported, tmp_path):
    config, params = imported
    state = read_state(open_published(CHECKPOINT))
    unet = as_diffusers(below(state, "model.diffusion_model."))
    parts = {
        "unet": {name: np.asarray(unet[name], np.float32) for name in unet},
        "clip_camera_projection": {
            f"proj.{kind}": np.asarray(state[f"cc_projection.{kind}"], np.float32) for kind in ("weight", "bias")
        },
        "image_encoder": clip_of_transformers(state),
    }
    described = {
        "unet": {
            "in_channels": 8,
            "block_out_channels": [32, 64],
            "layers_per_block": 1,
            "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
            "cross_attention_dim": 24,
        }
    }
    (tmp_path / "model_index.json").write_text("{}")
    for name, tensors in parts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(described.get(name, {})))
        safetensors.numpy.save_file(tensors, tmp_path / name / "model.safetensors")
    source = open_published(tmp_path)
    assert zero123.recognizes(source)
    model = zero123.import_published(source, OPTIONS)
    assert model.config == config
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        np.testing.assert_array_equal(model.read(tuple(key.key for key in path)), leaf)


def clip_of_transformers(state):
    """CLIP's tensors as `CLIPVisionModelWithProjection` names them, one by one."""
    made = {}
    prefix = "cond_stage_model.model.visual."

    def of(name):
        return np.ascontiguousarray(np.asarray(state[prefix + name], np.float32))

    made["vision_model.embeddings.class_embedding"] = of("class_embedding")
    made["vision_model.embeddings.patch_embedding.weight"] = of("conv1.weight")
    made["vision_model.embeddings.position_embedding.weight"] = of("positional_embedding")
    made["vision_model.embeddings.position_ids"] = np.arange(10)[None]
    made["visual_projection.weight"] = np.ascontiguousarray(of("proj").T)
    pairs = [("ln_pre", "pre_layrnorm"), ("ln_post", "post_layernorm")]
    for layer in range(2):
        ours, theirs = f"transformer.resblocks.{layer}", f"encoder.layers.{layer}"
        pairs += [(f"{ours}.ln_{n}", f"{theirs}.layer_norm{n}") for n in (1, 2)]
        pairs += [(f"{ours}.attn.out_proj", f"{theirs}.self_attn.out_proj")]
        pairs += [(f"{ours}.mlp.c_fc", f"{theirs}.mlp.fc1"), (f"{ours}.mlp.c_proj", f"{theirs}.mlp.fc2")]
        for kind in ("weight", "bias"):
            for letter, rows in zip("qkv", np.split(of(f"{ours}.attn.in_proj_{kind}"), 3), strict=True):
                made[f"vision_model.{theirs}.self_attn.{letter}_proj.{kind}"] = rows.copy()
    for name, renamed in pairs:
        for kind in ("weight", "bias"):
            made[f"vision_model.{renamed}.{kind}"] = of(f"{name}.{kind}")
    return made


@pytest.mark.slow
def test_the_command_imports_the_published_checkpoint(imported, tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("import_checkpoint", ROOT / "scripts" / "import_checkpoint.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    words = ["--in", CHECKPOINT, "--out", tmp_path / "model", "--image-vae", "models/image_vae", "--head-dim", "8"]
    module.main(parse_options(module.ImportConfig, [str(word) for word in words]))
    assert "Zero-1-to-3" in capsys.readouterr().out
    config, params = imported
    read = load_weights(tmp_path / "model", param_shapes(config))
    jax.tree.map(np.testing.assert_array_equal, read, params)


def test_what_cannot_be_imported_is_one_line(tmp_path):
    source = open_published(CHECKPOINT)
    with pytest.raises(UserError, match="--image-vae"):
        zero123.import_published(source, ImportOptions())
    with pytest.raises(UserError, match="heads of 7 features do not divide"):
        zero123.import_published(source, ImportOptions(image_vae="x", head_dim=7))
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "cc_projection").mkdir()
    (tmp_path / "cc_projection" / "config.json").write_text("{}")
    rows = {"proj.weight": np.ones((2, 2), np.float32)}
    safetensors.numpy.save_file(rows, tmp_path / "cc_projection" / "model.safetensors")
    with pytest.raises(DataError, match="no unet/config.json"):
        zero123.import_published(open_published(tmp_path), OPTIONS)
    with pytest.raises(UserError, match="is one of three parts"):
        zero123.init(Zero123Config(dropout=0.5), jax.random.key(0))
    assert open_tensors(CHECKPOINT).shapes["cc_projection.weight"] == (24, 28)


def test_a_new_token_is_the_pictures_features():
    """Published: the identity on the features, zero bias."""
    params = jax.jit(functools.partial(init_params, SMALL))(jax.random.key(0))
    features = jax.random.normal(jax.random.key(1), (2, 3, feature_width(SMALL)))
    np.testing.assert_allclose(project(params, features, jnp.zeros((2, 3, 4))), features, atol=1e-6)
    assert np.abs(project(params, features, jnp.ones((2, 3, 4))) - features).max() > 0.05


@pytest.mark.slow
def test_latents_are_scaled_for_diffusion_and_as_they_are_for_the_picture_and_carry_gradients(tmp_path):
    """Score distillation goes through the encoder to the images."""
    autoencoder = tiny_stable_diffusion.write_autoencoder(tmp_path / "autoencoder")
    config = dataclasses.replace(SMALL, autoencoder=autoencoder, channels=2, downsampling=2, latent_scale=0.18215)
    frozen = zero123.load_frozen(config, "sampling")
    stored = frozen["autoencoder"]
    images = jnp.asarray(np.random.default_rng(0).random((1, 1, 8, 8, 3)), jnp.float32)

    @jax.jit
    def both(images):
        latents, pull_back = jax.vjp(lambda images: latents_of(config, frozen, images), images)
        return latents, encode_posterior(stored.config, stored.params, 2 * images[0] - 1).mean, pull_back(latents)[0]

    latents, mode, gradient = both(images)
    np.testing.assert_allclose(latents[0] / config.latent_scale, mode, rtol=1e-5, atol=1e-6)
    assert np.abs(gradient).max() > 0


@pytest.mark.slow
def test_views_are_made_apart_of_the_one_that_is_given():
    """The condition view is found wherever it is, and no generated view sees another."""
    images = np.random.default_rng(0).random((1, 3, 8, 8, 3), np.float32)
    cameras = Cameras(*(np.asarray(leaf, np.float32)[None] for leaf in orbit(np.asarray([90.0, 0.0, 200.0]))))
    inputs = Views(images, cameras, np.asarray([[False, True, False]]), np.full(1, OBJECT, np.int32))
    batch = Batch(inputs, None, np.zeros(1, np.int32))
    given, others = split_given(inputs)
    np.testing.assert_array_equal(given.images[:, 0], images[:, 1])
    np.testing.assert_array_equal(others.images, images[:, [0, 2]])
    params = jax.tree.map(lambda leaf: leaf + 0.1, jax.jit(functools.partial(init_params, SMALL))(jax.random.key(0)))
    request = request_of(batch)

    @jax.jit
    def said(params, request: Request, x):
        module = family(SMALL)
        told = module.condition(SMALL, params, {}, request)
        return module.denoiser(SMALL, params, {}, told)(x, jnp.full(1, 500)).x0

    x = zero123.clean_state(SMALL, params, {}, batch)
    np.testing.assert_allclose(x, 2 * images[:, [0, 2]] - 1, atol=1e-6)
    first = said(params, request, x)
    changed = said(params, request, x.at[:, 1].add(1.0))
    np.testing.assert_allclose(changed[:, 0], first[:, 0], atol=1e-5)
    assert np.abs(changed[:, 1] - first[:, 1]).max() > 0.1
