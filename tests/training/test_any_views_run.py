"""A run of the recipe for any number of given views, at tiny size: it logs what denoised views contribute."""

import dataclasses
import json

import numpy as np
import pytest

from diffgs_jax.commands.training import train
from diffgs_jax.config import load_config
from diffgs_jax.models.diffusion_gs import NetworkConfig


@pytest.mark.slow
def test_a_run_with_any_number_of_given_views_learns_and_says_who_contributes(request, tmp_path):
    config = load_config(request.config.rootpath / "configs" / "diffusion_gs" / "any_views_64.py")
    losses = dataclasses.replace(config.model.losses, distance_warmup=0)
    network = NetworkConfig(width=32, layers=1, heads=2, patch_size=8, stride=4)
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, network=network, losses=losses),
        data=dataclasses.replace(
            config.data,
            path=str(request.config.rootpath / "assets" / "furniture_cc0"),
            resolution=16,
            batch_size=4,
            novel_views=1,
            cache_gigabytes=0.0,
        ),
        optimizer=dataclasses.replace(config.optimizer, learning_rate=5e-3, warmup_steps=5),
        run=dataclasses.replace(
            config.run,
            folder=str(tmp_path / "run"),
            steps=40,
            log_every=1,
            preview_every=40,
            preview_objects=2,
            preview_steps=2,
            checkpoint_every=40,
        ),
    )
    train(config)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = np.asarray([line["loss"] for line in lines if "loss" in line])
    assert losses[-10:].mean() < 0.9 * losses[:3].mean()
    assert all(0 <= line["denoised_weight_high_noise"] <= 1 for line in lines if "loss" in line)
    previews = [line for line in lines if "preview/denoised_weight_sampled" in line]
    assert len(previews) == 2 and all(0 < line["preview/denoised_opacity_half_noise"] < 1 for line in previews)
