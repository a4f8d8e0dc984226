"""docs/diffsplat.md names every published argument, and what it names here exists."""

import dataclasses
import pathlib
import re

import pytest

from diffgs_jax.commands.sample_options import SampleOptions
from diffgs_jax.config import TrainConfig, apply_overrides, load_config, to_dict
from diffgs_jax.config.json_form import flatten
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[1]
INFERENCE = (
    "config_file tag output_dir hdfs_dir seed gpu_id half_precision allow_tf32 image_path image_dir infer_from_iter "
    "rembg_and_center rembg_model_name border_ratio scheduler_type num_inference_steps guidance_scale "
    "triangle_cfg_scaling min_guidance_scale eta init_std init_noise_strength init_bg guess_mode controlnet_scale "
    "elevation use_elevest distance prompt negative_prompt prompt_file render_res opacity_threshold "
    "opacity_threshold_ply save_ply output_video_type name_by_id eval_text_cond not_use_t5 load_pretrained_gsrecon "
    "load_pretrained_gsrecon_ckpt load_pretrained_gsvae load_pretrained_gsvae_ckpt load_pretrained_controlnet "
    "load_pretrained_controlnet_ckpt load_pretrained_elevest load_pretrained_elevest_ckpt"
).split()
TRAINING = (
    "input_concat_plucker input_concat_binary_mask view_concat_condition zero_init_conv_in cfg_dropout_prob "
    "prediction_type common_tricks snr_gamma edm_style_training precondition_outputs weighting_scheme logit_mean "
    "logit_std mode_scale rendering_loss_prob diffusion_weight render_weight snr_gamma_rendering use_tiny_decoder "
    "scaling_factor shift_factor trainable_modules name_lr_mult lr_mult use_ema use_ema_warmup val_guidance_scales"
).split()


def rows():
    """Published name -> what is named here, and the rest of the row."""
    found = {}
    for line in (ROOT / "docs" / "diffsplat.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if line.startswith("| `") and len(cells) == 3 and re.match(r"`(--)?[a-z0-9_]+`$", cells[0]):
            found[cells[0].strip("`-")] = cells[1:]
    return found


@pytest.fixture(scope="module")
def config():
    return load_config(ROOT / "configs" / "diffsplat" / "furniture_small.py")


@pytest.mark.parametrize("names", [INFERENCE, TRAINING], ids=["inference", "training"])
def test_every_published_argument_has_a_row(names):
    assert not [name for name in names if name not in rows()]


def test_every_row_names_options_that_exist_or_says_why_not(config):
    of_sampling = {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(SampleOptions)}
    of_training = {f"--{name.replace('_', '-')}" for name in flatten(to_dict(config))}
    for published, (ours, why) in rows().items():
        options = re.findall(r"--[a-z0-9.-]+", ours)
        assert why and (options or ours == "none"), published
        for option in options:
            assert option in (of_training if "." in option else of_sampling), f"{published}: {option}"


def test_parsers_take_them_and_refuse_others(config):
    words = ["--out", "x", "--prompt", "a chair", "--guidance", "4.5", "--lowest-guidance", "1", "--eta", "0.5"]
    options = parse_options(SampleOptions, words)
    assert options.guidance == (4.5,) and options.lowest_guidance == 1 and options.prompt == "a chair"
    with pytest.raises(UserError, match="num-inference"):
        parse_options(SampleOptions, ["--out", "x", "--num-inference-timesteps", "20"])
    changed = apply_overrides(
        config, ["--model.losses.render-probability", "1", "--optimizer.rate-factors", "text", "0"]
    )
    assert changed.model.losses.render_probability == 1 and changed.optimizer.rate_factors == (("text", 0.0),)
    with pytest.raises(UserError, match=r"did you mean --model\.losses\.render.probability"):
        apply_overrides(config, ["--model.losses.rendering-probability", "1"])


def test_published_configs_load():
    for path in sorted((ROOT / "configs" / "diffsplat").glob("*.py")):
        assert isinstance(load_config(path), TrainConfig)
