"""An untrained model small enough for a test, and the command that samples from it."""

import jax
import pytest

from diffgs_jax import models
from diffgs_jax.config import TrainConfig
from diffgs_jax.data import DataConfig
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig, NetworkConfig
from diffgs_jax.sample import main

TINY = TrainConfig(
    model=DiffusionGSConfig(network=NetworkConfig(width=32, layers=1, heads=2, patch_size=8, stride=4)),
    data=DataConfig(resolution=32),
)
SMALL = ["--steps", "2", "--frames", "4", "--turntable-size", "32"]


def weights(config):
    return models.family(config.model).init(config.model, jax.random.key(0))


def command(checkpoint, picture, out, *more):
    return ["--checkpoint", str(checkpoint), "--image", str(picture), "--out", str(out), *SMALL, *more]


def failure(arguments, capsys):
    """Returns the exit code and the one line on stderr of a command that must fail."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return caught.value.code, error.strip()


def compilations():
    """Returns a list that names of compiled programs' events are added to from now on."""
    compiled = []

    def listen(event, *_, **__):
        if "backend_compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return compiled
