"""The U-Net of latent diffusion and ControlNets against published outputs (tests/golden/README.md)."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from exact_arrays import error, load_exact, under

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.models.counting import parameter_count
from diffgs_jax.models.layers.latent_unet import (
    CONTROLNET_NAMES,
    SDXL_UNET,
    UNET_NAMES,
    AddedCondition,
    ControlNetConfig,
    ControlResiduals,
    LatentUNetConfig,
    apply_latent_unet,
    check_latent_unet,
    control_residuals,
    control_views,
    controlnet_config,
    controlnet_shapes,
    init_controlnet,
    init_latent_unet,
    latent_unet_config,
    latent_unet_shapes,
    load_controlnet,
    load_latent_unet,
    sum_residuals,
    unconditional_half,
    widen_input,
    window_scales,
)
from diffgs_jax.weights import nested, read_params, tensors_of, write_params

apply = jax.jit(apply_latent_unet, static_argnums=0)
residuals = jax.jit(control_residuals, static_argnums=0, static_argnames="guess")


def last(array):
    """Channels last."""
    return np.moveaxis(array, -3, -1)


def unet_of(config, tensors):
    return nested(read_params(latent_unet_shapes(config), UNET_NAMES, tensors_of(tensors)))


def controlnet_of(config, tensors):
    return nested(read_params(controlnet_shapes(config), CONTROLNET_NAMES, tensors_of(tensors)))


@pytest.fixture(scope="module")
def folder(request):
    return request.config.rootpath / "tests" / "golden"


@pytest.fixture(scope="module")
def golden(folder):
    return load_exact(folder / "diffsplat_unet_sd15.npz")


@pytest.fixture(scope="module")
def golden_control(folder):
    return load_exact(folder / "diffsplat_controlnet.npz")


@pytest.fixture(scope="module")
def text_model(golden):
    config = latent_unet_config(json.loads(str(golden["config_text"])))
    return config, unet_of(config, under(golden, "sd/"))


@pytest.fixture(scope="module")
def inputs(golden):
    x = np.concatenate([last(golden["latents"]), last(golden["plucker"])], axis=-1)
    return x, golden["timestep"].astype(np.int32), golden["text"]


@pytest.fixture(scope="module")
def control(golden_control, text_model):
    tensors = under(golden_control, "sd/")
    config = controlnet_config(text_model[0], tensors_of(tensors))
    return config, controlnet_of(config, tensors)


@pytest.fixture(scope="module")
def pictures(golden_control):
    return control_views(last(golden_control["cond_image"]), 4)


@pytest.fixture(scope="module")
def published_residuals(golden_control, control, inputs, pictures):
    return residuals(*control, *inputs, pictures, scale=1.0)


def scaled(parts, factors):
    """The guess mode's factors are tested where nothing is compiled for them."""
    down = tuple(np.float32(factor) * one for factor, one in zip(factors[:-1], parts.down, strict=True))
    return ControlResiduals(down, np.float32(factors[-1]) * parts.middle)


@pytest.mark.slow
def test_views_of_an_object_are_denoised_as_published(golden, text_model, inputs, published_residuals):
    nothing = jax.tree.map(np.zeros_like, published_residuals)  # one program serves with and without a ControlNet
    found = apply(*text_model, *inputs, control=nothing)
    assert error(found, last(golden["text/out"])) < 1e-4


def test_a_controlnet_adds_what_the_published_one_adds(golden_control, published_residuals):
    for number, one in enumerate(published_residuals.down):
        if f"res/down_{number:02d}" in golden_control:
            assert error(one, last(golden_control[f"res/down_{number:02d}"])) < 1e-4
    assert error(published_residuals.middle, last(golden_control["res/mid"])) < 1e-4


def test_scales_and_guess_mode_are_the_published_ones(
    golden_control, control, text_model, inputs, pictures, published_residuals
):
    factors = {
        "scale1": np.ones(13),
        "scale0.7": np.full(13, 0.7),
        "guess0.7": golden_control["guess_factor"],
    }
    for name, factor in factors.items():
        found = apply(*text_model, *inputs, control=scaled(published_residuals, factor))
        assert error(found, last(golden_control[f"unet_out/{name}"])) < 1e-4
    assert error(last(golden_control["unet_out/scale0.7"]), last(golden_control["unet_out/scale1"])) > 0.01


@pytest.mark.slow
def test_guess_mode_lets_finer_residuals_count_less(golden_control, control, inputs, pictures, published_residuals):
    found = residuals(*control, *inputs, pictures, scale=0.7, guess=True)
    expected = scaled(published_residuals, golden_control["guess_factor"])
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_published_names_come_back(golden, text_model, golden_control, control):
    for params, naming, tensors in (
        (text_model[1], UNET_NAMES, under(golden, "sd/")),
        (control[1], CONTROLNET_NAMES, under(golden_control, "sd/")),
    ):
        written = dict(write_params(params, naming))
        assert written.keys() == tensors.keys()
        assert all(np.array_equal(written[name], tensors[name]) for name in tensors)


def test_new_input_channels_start_at_zero(golden, text_model):
    kernel = widen_input(text_model[1], 11)["encoder"]["input"]["kernel"]
    np.testing.assert_array_equal(np.transpose(kernel, (3, 2, 0, 1)), golden["init/image_from_text_conv_in.weight"])
    with pytest.raises(ValueError, match="cannot become one that reads 4"):
        widen_input(text_model[1], 4)


@pytest.mark.slow
def test_a_new_controlnet_takes_the_published_half_and_starts_at_zero(golden_control, text_model, control):
    drawn = jax.eval_shape(lambda: init_controlnet(control[0], text_model[1], jax.random.key(0)))
    names = {
        name
        for name, _ in write_params(
            {"encoder": jax.tree.map(lambda leaf: np.zeros(leaf.shape), drawn["encoder"])}, CONTROLNET_NAMES
        )
    }
    assert names == set(golden_control["from_unet/copied_names"])
    assert {*names, *golden_control["from_unet/zero_names"], *golden_control["from_unet/fresh_names"]} == set(
        under(golden_control, "sd/")
    )


@pytest.mark.slow
def test_a_new_controlnet_adds_nothing(text_model, control, inputs, pictures):
    params = jax.jit(init_controlnet, static_argnums=0)(control[0], text_model[1], jax.random.key(0))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(residuals(control[0], params, *inputs, pictures)))
    assert all((params["picture"]["blocks"][number]["kernel"] != 0).any() for number in ("0", "5"))


def test_residuals_of_several_are_summed_and_the_unconditional_half_has_none():
    one = ControlResiduals((np.ones((2, 4, 4, 3)), np.full((2, 2, 2, 5), 2.0)), np.full((2, 1, 1, 5), 3.0))
    both = sum_residuals([one, one])
    assert (both.down[1] == 4).all() and (both.middle == 6).all()
    half = unconditional_half(one)
    assert half.middle.shape == (4, 1, 1, 5) and (half.middle[:2] == 0).all() and (half.middle[2:] == 3).all()
    with pytest.raises(ValueError, match="no ControlNet"):
        sum_residuals([])


def test_windows_of_steps_are_the_published_ones():
    np.testing.assert_array_equal(window_scales(0.8, 3, 0.0, 0.5), np.asarray([0.8, 0, 0], np.float32))
    np.testing.assert_array_equal(window_scales(1.0, 4, 0.25, 0.75), np.asarray([0, 1, 1, 0], np.float32))


@pytest.mark.slow
def test_counts_are_the_published_ones():
    xl = dataclasses.replace(SDXL_UNET, inputs=10)
    assert parameter_count(controlnet_shapes(ControlNetConfig())) == 361_296_400
    assert parameter_count(latent_unet_shapes(LatentUNetConfig())) == 859_520_964
    assert parameter_count(latent_unet_shapes(LatentUNetConfig(inputs=10))) == 859_538_244
    assert parameter_count(latent_unet_shapes(LatentUNetConfig(inputs=11))) == 859_541_124
    assert parameter_count(latent_unet_shapes(SDXL_UNET)) == 2_567_463_684
    assert parameter_count(latent_unet_shapes(xl)) == 2_567_480_964
    assert parameter_count(latent_unet_shapes(dataclasses.replace(xl, inputs=11))) == 2_567_483_844
    assert parameter_count(controlnet_shapes(ControlNetConfig(unet=xl))) == 1_251_031_440


@pytest.mark.slow
def test_one_view_is_the_plain_network(golden, text_model, inputs):
    x, timesteps, text = inputs
    alone = apply(
        *text_model, x.reshape(8, 1, *x.shape[2:]), np.repeat(timesteps, 4), np.repeat(text, 4, axis=0)
    ).reshape(*x.shape[:4], 4)
    assert error(alone, last(golden["text/out_1view"])) < 1e-4
    assert error(alone, last(golden["text/out"])) > 0.1


@pytest.mark.slow
def test_a_condition_view_is_looked_at_as_published(golden, inputs):
    config = latent_unet_config(json.loads(str(golden["config_image"])))
    params = unet_of(config, under(golden, "sd/") | {"conv_in.weight": golden["image/conv_in.weight"]})
    x, timesteps, text = inputs
    condition = np.concatenate([last(golden["cond_latents"]), last(golden["plucker"])[:, :1]], axis=-1)
    views = np.concatenate([condition, x], axis=1)
    mask = np.ones((*views.shape[:4], 1), np.float32)
    mask[:, 0] = 0
    found = apply(config, params, np.concatenate([views, mask], axis=-1), timesteps, text)
    assert error(found, last(golden["image/out"])) < 1e-4
    unmasked = apply(config, params, np.concatenate([views, np.ones_like(mask)], axis=-1), timesteps, text)
    assert error(unmasked, last(golden["image/out"])) > 1e-3


@pytest.mark.slow
def test_a_widened_network_does_what_it_did(golden, text_model, inputs):
    base = latent_unet_config(json.loads(str(golden["config_base"])))
    tensors = under(golden, "sd/") | {
        "conv_in.weight": golden["init/base_conv_in.weight"],
        "conv_in.bias": golden["init/base_conv_in.bias"],
    }
    params = widen_input(unet_of(base, tensors), 10)
    assert error(apply(text_model[0], params, *inputs), last(golden["out_init"])) < 1e-4


SMALL = LatentUNetConfig(channels=(8, 8), blocks=1, depths=(1, 0), heads=(2, 2), groups=4, text_width=6)


@pytest.fixture(scope="module")
def small_inputs():
    random = np.random.default_rng(0)
    x, text = random.normal(size=(2, 3, 4, 4, 4)), random.normal(size=(2, 5, 6))
    return x.astype(np.float32), np.asarray([3, 900]), text.astype(np.float32)


@pytest.mark.slow
def test_a_new_network_predicts_zero(small_inputs):
    params = jax.jit(init_latent_unet, static_argnums=0)(SMALL, jax.random.key(0))
    assert (np.asarray(apply(SMALL, params, *small_inputs)) == 0).all()
    block = params["encoder"]["middle"]["transformers"]["0"]["blocks"]["attention"]["query"]["kernel"]
    assert np.std(block) > 0


@pytest.mark.slow
def test_gradients_are_the_same_with_and_without_keeping_everything(small_inputs):
    random = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: random.normal(0, 0.3, leaf.shape).astype(np.float32), latent_unet_shapes(SMALL))

    def gradient(config):
        loss = lambda params: (apply_latent_unet(config, params, *small_inputs) ** 2).mean()  # noqa: E731
        return jax.jit(jax.grad(loss))(params)

    kept, again = gradient(SMALL), gradient(dataclasses.replace(SMALL, remat=True))
    for a, b in zip(jax.tree.leaves(kept), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(a).max())
    assert all((np.asarray(leaf) != 0).any() for leaf in jax.tree.leaves(kept))


@pytest.mark.slow
def test_bfloat16_is_close(golden, text_model, inputs):
    config = dataclasses.replace(text_model[0], dtype="bfloat16")
    assert 0 < error(apply(config, text_model[1], *inputs), last(golden["text/out"])) < 0.1


@pytest.fixture(scope="module")
def golden_xl(folder):
    return load_exact(folder / "latent_unet_sdxl.npz")


@pytest.fixture(scope="module")
def xl(golden_xl):
    config = latent_unet_config(json.loads(str(golden_xl["config"])))
    x = last(golden_xl["x"]).reshape(2, 3, 8, 8, 10)
    added = AddedCondition(golden_xl["pooled"], golden_xl["sizes"])
    return config, unet_of(config, under(golden_xl, "sd/")), x, added


@pytest.mark.slow
def test_sdxl_is_what_diffusers_makes_of_its_weights(golden_xl, xl):
    config, params, x, added = xl
    timesteps, text = golden_xl["timestep"].astype(np.int32), golden_xl["text"]
    shape = (2, 3, 8, 8, 4)
    tensors = under(golden_xl, "control/sd/")
    control = controlnet_config(config, tensors_of(tensors))
    pictures = last(golden_xl["pictures"]).reshape(2, 3, 16, 16, 3)
    more = residuals(control, controlnet_of(control, tensors), x, timesteps, text, pictures, added=added)
    nothing = jax.tree.map(np.zeros_like, more)
    for name, residual in (("out", nothing), ("out_controlled", more)):
        found = apply(config, params, x, timesteps, text, added=added, control=residual)
        assert error(found, last(golden_xl[name]).reshape(shape)) < 1e-4
    repeated = AddedCondition(*(np.repeat(part, 3, axis=0) for part in added))
    alone = apply(
        config, params, x.reshape(6, 1, 8, 8, 10), np.repeat(timesteps, 3), np.repeat(text, 3, axis=0), added=repeated
    )
    assert error(alone.reshape(shape), last(golden_xl["out_1view"]).reshape(shape)) < 1e-4


@pytest.mark.slow
def test_sdxl_needs_to_be_told_of_sizes(golden_xl, xl):
    config, params, x, _ = xl
    with pytest.raises(ValueError, match="told of the pooled text"):
        jax.eval_shape(
            lambda: apply_latent_unet(config, params, x, golden_xl["timestep"].astype(np.int32), golden_xl["text"])
        )


@pytest.mark.slow
def test_folders_are_read_as_published(golden, golden_control, text_model, control, tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    for name, tensors in (("unet_ema", under(golden, "sd/")), ("controlnet", under(golden_control, "sd/"))):
        (tmp_path / name).mkdir()
        tensors = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
        save_file(tensors, tmp_path / name / "diffusion_pytorch_model.safetensors")
        (tmp_path / name / "config.json").write_text(str(golden["config_text"]))
    config, params = load_latent_unet(tmp_path / "unet_ema")
    assert config == text_model[0]
    jax.tree.map(np.testing.assert_array_equal, params, text_model[1])
    config, params = load_controlnet(tmp_path / "controlnet", config)
    assert config == control[0]
    jax.tree.map(np.testing.assert_array_equal, params, control[1])
    with pytest.raises(DataError, match=r"controlnet_cond_embedding\.conv_in"):
        load_controlnet(tmp_path / "unet_ema", text_model[0])
    with pytest.raises(DataError, match="is unknown"):
        load_latent_unet(tmp_path / "controlnet")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("act_fn", "gelu"),
        ("block_out_channels", [320, "wide"]),
        ("attention_head_dim", [1, 2]),
        ("down_block_types", ["SimpleDownBlock2D"] * 4),
        ("addition_embed_type", "image"),
        ("layers_per_block", [1, 2, 2, 2]),
        ("up_block_types", ["UpBlock2D"] * 4),
        ("time_embedding_dim", 1280),
    ],
)
def test_other_networks_are_refused_by_the_setting(setting, value):
    with pytest.raises(DataError, match=setting if setting != "down_block_types" else "blocks other than"):
        latent_unet_config({setting: value})


@pytest.mark.parametrize(
    "changes",
    [
        {"channels": ()},
        {"depths": (1,)},
        {"groups": 7},
        {"blocks": 0},
        {"heads": (7, 8, 8, 8)},
        {"size_features": 4},
        {"attention": "cudnn"},
    ],
)
def test_settings_that_contradict_themselves_are_refused(changes):
    with pytest.raises(UserError, match="model.network"):
        check_latent_unet(dataclasses.replace(LatentUNetConfig(), **changes))


def test_latents_that_cannot_be_halved_are_refused(text_model, inputs):
    x, timesteps, text = inputs
    with pytest.raises(ValueError, match="sides that 8 divides"):
        jax.eval_shape(lambda: apply_latent_unet(*text_model, x[:, :, :12], timesteps, text))
