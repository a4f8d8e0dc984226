"""A folder of diffusers' save_pretrained gives StableDiffusionPipeline's picture (tests/golden/make_pictures.py)."""

import dataclasses
import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from diffgs_jax.checkpoints import load_weights, read_metadata
from diffgs_jax.config import from_dict
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.diffusion import PUBLISHED_DIFFUSION, Prediction, make_schedule, sample, sampler_from_config, to_x0
from diffgs_jax.models import family
from diffgs_jax.models.layers.latent_unet import apply_latent_unet, load_latent_unet
from diffgs_jax.models.layers.text_encoders import encode_prompts

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def golden():
    with np.load(ROOT / "tests" / "golden" / "stable_diffusion.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def folder(golden, tmp_path_factory):
    """The folder, file by file."""
    place, tensors = tmp_path_factory.mktemp("pipeline"), {}
    for name, array in golden.items():
        kind, _, rest = name.partition("/")
        if kind == "text":
            (place / rest).parent.mkdir(parents=True, exist_ok=True)
            (place / rest).write_text(str(array))
        elif kind == "weights":
            file, _, tensor = rest.partition(".safetensors/")
            tensors.setdefault(f"{file}.safetensors", {})[tensor] = np.ascontiguousarray(array, np.float32)
    for name, one in tensors.items():
        safetensors.numpy.save_file(one, place / name)
    return place


@pytest.mark.slow
def test_ten_steps_make_the_published_picture(golden, folder, tmp_path):
    texts = encode_prompts(folder, list(golden["prompt"]))
    config, params = load_latent_unet(folder / "unet")
    published = PUBLISHED_DIFFUSION["sd15"]
    schedule = make_schedule(published.schedule)
    table = sampler_from_config(schedule, dataclasses.replace(published.samplers["ddim"], eta=0.0), 10)

    @jax.jit
    def run(params, tokens, start):
        def denoise(x, t):
            both = jnp.concatenate([x, x])[:, None]  # one view each
            times = jnp.concatenate([t, t])
            with_prompt, without = jnp.split(apply_latent_unet(config, params, both, times, tokens)[:, 0], 2)
            guided = without + 7.5 * (with_prompt - without)
            return Prediction(to_x0(schedule, "epsilon", guided, x, t))

        return sample(denoise, table, None, start).x0

    latents = run(params, texts.tokens, np.moveaxis(golden["start"].astype(np.float32), 1, -1))
    limit = 1e-3 * np.abs(golden["latents"]).max()
    np.testing.assert_allclose(np.moveaxis(latents, -1, 1), golden["latents"], atol=limit)
    spec = importlib.util.spec_from_file_location("import_vae", ROOT / "scripts" / "import_checkpoint.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.main(parse_options(script.ImportConfig, ["--in", str(folder / "vae"), "--out", str(tmp_path / "vae")]))
    model = from_dict(read_metadata(tmp_path / "vae")["config"]).model
    module = family(model)
    weights = load_weights(tmp_path / "vae", jax.eval_shape(lambda: module.init(model, jax.random.key(0))))
    picture = jax.jit(module.decode_latents, static_argnums=0)(model, weights, latents) / 2 + 0.5
    np.testing.assert_allclose(picture, golden["picture"], atol=1e-3)
