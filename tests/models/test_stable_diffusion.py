"""Stable Diffusion from a folder of diffusers, as a family that is sampled and asked."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_stable_diffusion as tiny

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.geometry import OBJECT
from diffgs_jax.models.bundles import Request
from diffgs_jax.models.importing import ImportOptions, open_published
from diffgs_jax.models.layers.latent_unet.network import apply_latent_unet
from diffgs_jax.models.layers.text_encoders import encode_clip
from diffgs_jax.models.stable_diffusion import family as stable_diffusion
from diffgs_jax.weights import nested


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sd")
    return path, tiny.write_folder(path / "published"), tiny.write_autoencoder(path / "autoencoder")


@pytest.mark.slow
def test_a_folder_is_imported_and_reads_prompts_by_its_own_encoder(folder):
    path, (unet, text), autoencoder = folder
    source = open_published(path / "published")
    assert stable_diffusion.recognizes(source)
    model = stable_diffusion.import_published(source, ImportOptions(image_vae=autoencoder))
    config = dataclasses.replace(model.config, downsampling=2)
    assert config.unet == tiny.UNET and config.prediction == "epsilon" and model.data["resolution"] == 64
    paths = [tuple(key.key for key in at) for at, _ in jax.tree_util.tree_flatten_with_path(model.shapes)[0]]
    params = nested((at, model.read(at)) for at in paths)
    jax.tree.map(np.testing.assert_array_equal, params["unet"], unet)

    frozen = stable_diffusion.load_frozen(config, "sampling")
    needs = stable_diffusion.requirements(config)
    request = Request(16, np.full(2, OBJECT, np.int32), text=needs.tokenize(["a cat", ""]))
    ids = np.full((2, 77), 99, np.int32)
    ids[0, :4], ids[1, :2] = [98, 4, 8, 99], [98, 99]
    x = jax.random.normal(jax.random.key(0), stable_diffusion.state_shape(config, request))
    t = jnp.asarray([10, 500])

    @jax.jit
    def both(params, frozen, request, x, t):
        told = stable_diffusion.condition(config, params, frozen, request)
        null = stable_diffusion.null_condition(config, params, frozen, request)
        expected = encode_clip(tiny.TEXT, text, ids).last
        said = stable_diffusion.denoiser(config, params, frozen, told)(x, t).x0
        noise = apply_latent_unet(tiny.UNET, unet, x[:, None], t, expected)[:, 0]
        return told, null, expected, said, noise

    told, null, expected, said, noise = both(params, frozen, request, x, t)
    np.testing.assert_allclose(told, expected, atol=1e-6)
    np.testing.assert_allclose(null[0], expected[1], atol=1e-6)
    schedule = stable_diffusion.schedule(config)
    # Scaled linear betas of Stable Diffusion, written out
    kept = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)[np.asarray(t)]
    assert schedule.steps == 1000
    x0 = (x - np.sqrt(1 - kept)[:, None, None, None] * noise) / np.sqrt(kept)[:, None, None, None]
    np.testing.assert_allclose(said, x0, rtol=2e-4, atol=2e-4)


def test_what_is_no_stable_diffusion_is_one_line(folder, tmp_path):
    path, _, autoencoder = folder
    source = open_published(path / "published")
    read = functools.partial(stable_diffusion.import_published, source)
    with pytest.raises(UserError, match="--image-vae"):
        read(ImportOptions())
    with pytest.raises(UserError, match="--prompts says nothing"):
        read(ImportOptions(image_vae=autoencoder, prompts="x.npz"))
    odd = source._replace(described={**source.described, "scheduler": {"prediction_type": "sample"}})
    with pytest.raises(DataError, match="predicts sample is not known"):
        stable_diffusion.import_published(odd, ImportOptions(image_vae=autoencoder))
    config = read(ImportOptions(image_vae=autoencoder)).config
    with pytest.raises(UserError, match="no folder"):
        stable_diffusion.requirements(dataclasses.replace(config, text="")).tokenize(["a"])
    with pytest.raises(UserError, match=r"names no checkpoint"):
        stable_diffusion.load_frozen(dataclasses.replace(config, autoencoder=""), "sampling")
