"""Killed with SIGKILL at random moments, again and again: `pytest tests/training/test_kills.py --kills 20`."""

import random
import time

import jax
import numpy as np
import pytest

import diffgs_jax


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing(runs, tmp_path, request):
    """Every restart continues from a whole checkpoint, and the end is that of a run nobody disturbed."""
    kills = request.config.getoption("--kills")
    steps = ["--run.steps", str(60 + 20 * kills), "--run.checkpoint-every", "3", "--run.keep-checkpoints", "1"]
    runs.finish(runs.start(tmp_path / "whole", *steps))
    chance = random.Random(kills)
    checkpoints = tmp_path / "killed" / "checkpoints"
    for _ in range(kills):
        process = runs.start(tmp_path / "killed", *steps)
        before = newest(checkpoints)
        while newest(checkpoints) == before and process.poll() is None:
            time.sleep(0.005)  # it writes every third step from here on
        time.sleep(chance.uniform(0.0, 0.5))
        process.kill()
        process.communicate()
    runs.finish(runs.start(tmp_path / "killed", *steps))
    found, expected = runs.losses(tmp_path / "killed"), runs.losses(tmp_path / "whole")
    assert list(found) == list(expected)
    np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=1e-6)
    found, expected = (diffgs_jax.load(tmp_path / name).params for name in ("killed", "whole"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), found, expected)


def newest(checkpoints) -> int:
    return max((int(path.name) for path in checkpoints.glob("*") if path.name.isdigit()), default=0)
