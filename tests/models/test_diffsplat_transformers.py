"""The transformers of PixArt and Stable Diffusion 3 over several views, against the published code's outputs."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffsplat_golden import config_of, difference, golden, last, params_of, state_dict, text_of

from diffgs_jax.errors import DataError
from diffgs_jax.models.counting import parameter_count
from diffgs_jax.models.diffsplat import DiffSplatConfig, ImageConfig, LatentConfig, MMDiTConfig
from diffgs_jax.models.diffsplat.conditions import TextFeatures
from diffgs_jax.models.diffsplat.inputs import network_input
from diffgs_jax.models.diffsplat.network import apply_denoiser, param_shapes
from diffgs_jax.models.diffsplat.published import read_published, to_published
from diffgs_jax.weights import nested, tensors_of

CLOSE, FAR = 1e-4, 0.03
ALL = [(name, kind) for name in ("pixart", "sd3", "sd35") for kind in ("text", "image")]
# One of each transformer in the default tests; the others differ by settings that are tried there too.
CASES = [
    case if case in (("pixart", "text"), ("sd35", "image")) else pytest.param(*case, marks=pytest.mark.slow)
    for case in ALL
]

run = functools.partial(jax.jit, static_argnums=0)(apply_denoiser)


def given(name, kind):
    """What a network of a file reads."""
    arrays = golden(name)
    image = last(arrays["cond_latents"]) if kind == "image" else None
    noisy, rays, image = (
        None if x is None else jnp.asarray(x) for x in (last(arrays["latents"]), last(arrays["plucker"]), image)
    )
    return network_input(noisy, rays, image)


def published(name, key):
    """An output, the channels that are kept."""
    return last(golden(name)[key])[..., : golden(name)["latents"].shape[2]]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_outputs_are_the_published_ones(name, kind):
    time = jnp.asarray(golden(name)["timestep"])
    out = run(config_of(name, kind), params_of(name, kind), given(name, kind), time, text_of(name))
    assert difference(out, published(name, f"{kind}/out")) < CLOSE
    if kind == "text":
        assert difference(out, published(name, "text/out_1view")) > FAR


@pytest.mark.parametrize(
    "name", ["pixart", pytest.param("sd3", marks=pytest.mark.slow), pytest.param("sd35", marks=pytest.mark.slow)]
)
def test_one_view_is_the_plain_image_model(name):
    x, views = given(name, "text"), 4
    text = jax.tree.map(lambda leaf: jnp.repeat(leaf, views, axis=0), text_of(name))
    time = jnp.repeat(jnp.asarray(golden(name)["timestep"]), views)
    alone = x.reshape(-1, 1, *x.shape[2:])
    out = run(config_of(name, "text"), params_of(name, "text"), alone, time, text)
    assert difference(out.reshape(*x.shape[:-1], -1), published(name, "text/out_1view")) < CLOSE


@pytest.mark.slow
def test_the_padding_of_a_prompt_counts_for_nothing_only_where_it_is_masked():
    time, text = jnp.asarray(golden("pixart")["timestep"]), text_of("pixart")
    arguments = config_of("pixart", "text"), params_of("pixart", "text"), given("pixart", "text"), time
    out = run(*arguments, text._replace(mask=None))
    assert difference(out, published("pixart", "text/out_nomask")) < CLOSE
    assert difference(out, published("pixart", "text/out")) > FAR


@pytest.mark.slow
def test_positions_of_another_size_of_latents():
    arrays = golden("pixart")
    text = jax.tree.map(lambda leaf: leaf[:1], text_of("pixart"))
    x, time = jnp.asarray(last(arrays["text/in_24x20"])), jnp.asarray(arrays["timestep"])[:1]
    out = run(config_of("pixart", "text"), params_of("pixart", "text"), x, time, text)
    assert difference(out, published("pixart", "text/out_24x20")) < CLOSE


@pytest.mark.slow
def test_a_position_table_for_another_size_is_another_model():
    """The published table was made for a larger image, and its middle is taken."""
    config = config_of("sd3", "text")
    wrong = dataclasses.replace(config, mmdit=dataclasses.replace(config.mmdit, position_base=6))
    time = jnp.asarray(golden("sd3")["timestep"])
    out = run(wrong, params_of("sd3", "text"), given("sd3", "text"), time, text_of("sd3"))
    assert difference(out, published("sd3", "text/out")) > 0.5


PUBLISHED_COUNTS = {
    "pixart_sigma": (4, MMDiTConfig(), 610_883_744, 610_888_352),
    "sd3m": (16, MMDiTConfig(), 2_028_364_864, 2_028_371_008),
    "sd35m": (16, MMDiTConfig(qk_norm=True, dual_layers=13, position_side=384), 2_243_208_384, 2_243_214_528),
}


@pytest.mark.parametrize("backbone", ["pixart_sigma", "sd35m", pytest.param("sd3m", marks=pytest.mark.slow)])
def test_full_sizes_have_the_published_number_of_parameters(backbone):
    channels, mmdit, *counts = PUBLISHED_COUNTS[backbone]
    for kind, count in zip(("none", "vae"), counts, strict=True):
        config = DiffSplatConfig(
            backbone=backbone, mmdit=mmdit, latents=LatentConfig(channels=channels), image=ImageConfig(kind)
        )
        assert parameter_count(param_shapes(config)) == count


@pytest.mark.parametrize("name", ["pixart", "sd35"])
def test_weights_go_out_under_the_names_they_came_in_with(name):
    config, tensors = config_of(name, "text"), state_dict(name, "text")
    written = dict(
        to_published(config.pixart if name == "pixart" else config.mmdit, params_of(name, "text")["denoiser"])
    )
    assert set(written) == set(tensors)
    for key, array in written.items():
        np.testing.assert_array_equal(array, tensors[key])


@pytest.mark.parametrize("name", ["sd35", "unet_sd15"])
def test_channels_that_are_new_read_nothing(name):
    """An image model goes on as a model of splats, and that as one that is shown a view."""
    config, tensors = config_of(name, "image"), state_dict(name, "text")
    key = "conv_in.weight" if name == "unet_sd15" else "pos_embed.proj.weight"
    latents = config.latents.channels
    for known in (latents, latents + 6):
        first = tensors[key][:, :known]
        params = nested(read_published(config, tensors_of(tensors | {key: first})))["denoiser"]
        kernel = params["encoder"]["input"]["kernel"] if name == "unet_sd15" else params["patches"]["kernel"]
        by_channel = np.asarray(kernel).reshape(*first.shape[2:], latents + 7, -1)
        np.testing.assert_array_equal(by_channel[:, :, known:], 0)
        np.testing.assert_array_equal(by_channel[:, :, :known], first.transpose(2, 3, 1, 0))


def test_other_weights_are_refused_in_a_line():
    config, tensors = config_of("pixart", "text"), state_dict("pixart", "text")
    without = {name: array for name, array in tensors.items() if name != "proj_out.bias"}
    for wrong, line in (
        (without, "output.bias is missing"),
        (tensors | {"lora.weight": np.zeros(2)}, "lora.weight is unknown"),
        (tensors | {"proj_out.bias": np.zeros(3)}, r"output\.bias has shape \(3,\)"),
        (tensors | {"proj_out.bias": np.full(32, np.nan)}, "output.bias is not finite"),
        (state_dict("pixart", "image"), "patches.weight has shape"),
    ):
        with pytest.raises(DataError, match=line):
            list(read_published(config, tensors_of(wrong)))


def test_text_features_are_an_objects():
    """Two objects in one batch do not see each other's prompt or views."""
    name, kind = "pixart", "text"
    x, text, time = given(name, kind), text_of(name), jnp.asarray(golden(name)["timestep"])
    config, params = config_of(name, kind), params_of(name, kind)
    both = run(config, params, x, time, text)
    changed = run(config, params, x.at[1].set(0.0), time, TextFeatures(text.tokens.at[1].set(1.0), text.mask))
    np.testing.assert_allclose(both[0], changed[0], atol=1e-5)
    assert np.abs(both[1] - changed[1]).max() > 1e-2
