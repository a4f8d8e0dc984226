"""Published denoisers, and image models that become denoisers of splats, from folders as diffusers writes them."""

import importlib.util
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from diffsplat_golden import config_of, difference, golden, last, state_dict, text_of

from diffgs_jax.checkpoints import load_weights, read_metadata
from diffgs_jax.config import from_dict
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.models.diffsplat.config import network_settings
from diffgs_jax.models.diffsplat.inputs import network_input
from diffgs_jax.models.diffsplat.network import apply_denoiser, param_shapes
from diffgs_jax.models.diffsplat.published_config import read_config, recognizes
from diffgs_jax.models.importing import PublishedWeights
from diffgs_jax.weights import tensors_of

ROOT = pathlib.Path(__file__).parents[2]


def described(name, kind="text"):
    """The config.json of a network of a file."""
    return json.loads(str(golden(name)[f"config_{kind}"]))


def config_from(name, kind="text", changes=None, **options):
    return read_config(described(name, kind) | (changes or {}), tensors_of(state_dict(name, kind)), **options)


@pytest.mark.parametrize("name", ["unet_sd15", "pixart", "sd3", "sd35"])
@pytest.mark.parametrize("kind", ["text", "image"])
def test_settings_are_read_off_the_folder(name, kind):
    read, known = config_from(name, kind), config_of(name, kind)
    assert recognizes(PublishedWeights(pathlib.Path(), tensors_of(state_dict(name, kind)), {}))
    assert (read.backbone, read.image.encoder) == (known.backbone, known.image.encoder)
    # The two files have one table; it follows from a number, and may be stored all the same
    tables = {"position_table": "computed", "position_base": 32}
    assert read.latents == known.latents and (name != "pixart" or read.pixart == known.pixart)
    assert name != "unet_sd15" or network_settings(read) == network_settings(known)
    for field in ("layers", "heads", "qk_norm", "dual_layers", "text_width", "pooled_width", "position_side"):
        assert name not in ("sd3", "sd35") or getattr(read.mmdit, field) == getattr(known.mmdit, field)
    assert name not in ("sd3", "sd35") or all(getattr(read.mmdit, key) == value for key, value in tables.items())


def test_a_table_that_follows_from_no_number_is_kept():
    tensors = state_dict("sd3", "text")
    tensors["pos_embed.pos_embed"] = tensors["pos_embed.pos_embed"] + np.float32(0.01)
    read = read_config(described("sd3"), tensors_of(tensors))
    assert read.mmdit.position_table == "stored"


def test_what_is_no_such_denoiser_is_refused_in_a_line():
    with pytest.raises(DataError, match="norm_type = layer_norm is not known"):
        config_from("pixart", changes={"norm_type": "layer_norm"})
    with pytest.raises(DataError, match="dual_attention_layers"):
        config_from("sd35", changes={"dual_attention_layers": [0, 2]})
    with pytest.raises(DataError, match="reads 9 channels"):
        config_from("pixart", changes={"in_channels": 9})
    with pytest.raises(DataError, match="no size of a network"):
        config_from("pixart", changes={"num_layers": 0})
    with pytest.raises(DataError, match="no table of positions"):
        config_from("sd3", changes={"pos_embed_max_size": 25})
    with pytest.raises(UserError, match="weights of pixart_sigma, not of sd3m"):
        config_from("pixart", backbone="sd3m")
    with pytest.raises(UserError, match="shown a view"):
        config_from("pixart", "image", image=False)
    assert config_from("pixart", backbone="pixart_alpha").backbone == "pixart_alpha"
    assert config_from("pixart", image=True).image.encoder == "vae"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pixart", "sd35"])
def test_an_imported_folder_computes_what_the_published_code_did(name, tmp_path):
    folder = tmp_path / "transformer_ema"
    folder.mkdir()
    contiguous = {key: np.ascontiguousarray(array) for key, array in state_dict(name, "text").items()}
    safetensors.numpy.save_file(contiguous, folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text(json.dumps(described(name)))
    spec = importlib.util.spec_from_file_location("import_denoisers", ROOT / "scripts" / "import_checkpoint.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.main(parse_options(script.ImportConfig, ["--in", str(folder), "--out", str(tmp_path / "imported")]))
    config = from_dict(read_metadata(tmp_path / "imported")["config"]).model
    params = load_weights(tmp_path / "imported", param_shapes(config))
    arrays = golden(name)
    x = network_input(jnp.asarray(last(arrays["latents"])), jnp.asarray(last(arrays["plucker"])), None)
    run = jax.jit(apply_denoiser, static_argnums=0)
    out = run(config, params, x, jnp.asarray(arrays["timestep"]), text_of(name))
    assert difference(out, last(arrays["text/out"])[..., : config.latents.channels]) < 1e-4
