"""`--elevation estimate`: a network says how high the camera was, and the number is what is written down."""

import json

import jax
import numpy as np
import pytest
from tiny import TINY, command, failure

from diffgs_jax.checkpoints import save_weights
from diffgs_jax.config import TrainConfig, to_dict
from diffgs_jax.data import DataConfig
from diffgs_jax.errors import UserError
from diffgs_jax.inference import InputOptions, show_image
from diffgs_jax.models import family
from diffgs_jax.models.elevest import ElevEstConfig, VisionConfig
from diffgs_jax.sample import main

SAID = 31.5  # whatever the picture: degrees, in the interval from 30 to 32


@pytest.fixture(scope="module")
def estimator(tmp_path_factory):
    """A checkpoint whose heads know one answer."""
    model = ElevEstConfig(
        network=VisionConfig(width=8, layers=1, heads=1, patch_size=8, position_grid=2, registers=1), resolution=16
    )
    config = TrainConfig(model=model, data=DataConfig(resolution=16, condition_views=0, noisy_views=1, novel_views=0))
    shapes = jax.eval_shape(lambda: family(model).init(model, jax.random.key(0)))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    params["class_head"]["output"]["bias"][20] = 5.0
    params["offset_head"]["output"]["bias"][:] = 1.5
    folder = tmp_path_factory.mktemp("estimator") / "saved"
    save_weights(folder, 1, params, {"config": to_dict(config), "counters": {}}, compress=False)
    return folder


@pytest.mark.slow
def test_the_number_is_told_used_and_written(estimator, checkpoint, loaded, picture, tmp_path, capsys):
    words = ["--elevation", "estimate", "--elevation-model", str(estimator), "--frames", "0"]
    main(command(checkpoint, picture, tmp_path / "estimated", *words))
    assert "elevation: 31.5 degrees, estimated" in capsys.readouterr().out
    main(command(checkpoint, picture, tmp_path / "stated", "--elevation", "31.5", "--frames", "0"))
    ply = [(tmp_path / name / "gaussians.ply").read_bytes() for name in ("estimated", "stated")]
    assert ply[0] == ply[1]
    options = json.loads((tmp_path / "estimated" / "sample.json").read_text())["options"]
    assert options["elevation"] == SAID and options["elevation_model"] is None
    main(["--repeat", str(tmp_path / "estimated" / "sample.json"), "--out", str(tmp_path / "again")])
    assert (tmp_path / "again" / "gaussians.ply").read_bytes() == ply[0]


def test_what_is_no_estimator_is_one_line(estimator, checkpoint, loaded, picture, tmp_path, capsys, monkeypatch):
    code, line = failure(command(checkpoint, picture, tmp_path / "out", "--elevation-model", str(estimator)), capsys)
    assert code == 2 and "say --elevation estimate too" in line
    words = ["--elevation", "estimate", "--elevation-model"]
    code, line = failure(command(checkpoint, picture, tmp_path / "out", *words, str(checkpoint)), capsys)
    assert code == 2 and "holds no model that estimates elevations" in line
    code, line = failure(command(checkpoint, picture, tmp_path / "out", *words, str(tmp_path / "none")), capsys)
    assert code == 2 and "there is no checkpoint folder" in line
    monkeypatch.setattr("diffgs_jax.inference.elevations.BUNDLED_ESTIMATOR", tmp_path / "none")
    with pytest.raises(UserError, match="comes without an estimator of elevations"):
        show_image(picture, TINY, InputOptions(elevation="estimate"))
