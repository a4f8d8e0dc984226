"""Spikes, broken numbers and polite requests to stop."""

import json
import math
import signal
import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffgs_jax.errors import DataError
from diffgs_jax.training import EXIT_CODE, StepRecord, check_health, skip_spikes


def test_spikes_change_nothing_and_are_counted():
    """With and without the bad gradients in between, weights end up the same."""
    optimizer = skip_spikes(optax.adam(0.1), factor=5.0)
    rng = np.random.default_rng(0)
    usual = [jnp.asarray(rng.normal(size=4), jnp.float32) for _ in range(40)]

    def run(gradients):
        params, state = jnp.ones(4), optimizer.init(jnp.ones(4))
        for gradient in gradients:
            updates, state = optimizer.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
        return params, state

    expected, _ = run(usual)
    spikes = [jnp.full(4, 100.0), jnp.asarray([jnp.nan, 0, 0, 0]), jnp.asarray([jnp.inf, 0, 0, 0])]
    found, state = run(usual[:30] + spikes + usual[30:])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert int(state.skipped) == 3
    mean = np.exp(np.mean([np.log(np.linalg.norm(gradient)) for gradient in usual]))
    assert math.isclose(float(jnp.exp(state.usual)), mean, rel_tol=0.05)


def test_a_broken_step_names_its_samples(tmp_path):
    good = {"loss": jnp.float32(1.0), "parameter_norm": jnp.float32(1.0)}
    bad = good | {"loss": jnp.float32(jnp.nan)}
    taken = [StepRecord(4, good, jnp.asarray([0, 1])), StepRecord(5, bad, jnp.asarray([2, 0]))]
    with pytest.raises(DataError, match="loss is not finite at step 5"):
        check_health(tmp_path, taken, ["chair", "table", "lamp"], guarded=False)
    written = json.loads((tmp_path / "not_finite.json").read_text())
    assert written["uids"] == ["lamp", "chair"] and written["step"] == 5
    check_health(tmp_path, taken, ["chair", "table", "lamp"], guarded=True)  # the guard has left it out
    with pytest.raises(DataError, match="loss is not finite at step 5"):
        check_health(tmp_path, taken[1:], ["chair", "table", "lamp"], guarded=True)  # it leaves out everything


@pytest.mark.long
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_run_that_is_asked_to_stop_saves_and_continues_exactly(name, runs, tmp_path):
    whole = ["--run.steps", "60", "--run.checkpoint-every", "1000"]
    runs.finish(runs.start(tmp_path / "whole", *whole))
    process = runs.start(tmp_path / "asked", *whole)
    wait_for(process, lambda: (tmp_path / "asked" / "metrics.jsonl").exists())
    process.send_signal(getattr(signal, name))
    said = runs.finish(process, EXIT_CODE)
    assert "asked to stop: step" in said
    done = len(runs.losses(tmp_path / "asked"))
    assert 0 < done < 60
    runs.finish(runs.start(tmp_path / "asked", *whole))
    found, expected = runs.losses(tmp_path / "asked"), runs.losses(tmp_path / "whole")
    assert list(found) == list(range(1, 61))
    np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=1e-6)


def wait_for(process, happened) -> None:
    deadline = time.monotonic() + 900
    while not happened():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.long
def test_a_full_disk_keeps_the_last_checkpoint(runs, tmp_path):
    """Files may not grow over a few kilobytes from the second start on, which is what a full disk looks like."""
    folder = tmp_path / "run"
    runs.finish(runs.start(folder, "--run.steps", "2"))
    before = sorted(path.name for path in (folder / "checkpoints").iterdir())
    limited = tmp_path / "limited.py"
    limited.write_text(
        "import resource, signal, sys\n"
        "from diffgs_jax import training\n"
        "from diffgs_jax.train import main\n"
        "step = training.make_train_step\n"
        "def full(*arguments, **settings):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "    return step(*arguments, **settings)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "training.make_train_step = full\n"
        "main(sys.argv[1:])\n"
    )
    process = runs.start(folder, "--run.steps", "4")
    words = process.args[3:]
    process.kill()
    process.wait()
    done = subprocess.run([sys.executable, limited, *words], capture_output=True, text=True, cwd=runs.root, timeout=900)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: cannot write a checkpoint to")
    assert sorted(path.name for path in (folder / "checkpoints").iterdir() if path.name.isdigit()) == before
    runs.finish(runs.start(folder, "--run.steps", "4"))
    assert list(runs.losses(folder)) == [1, 2, 3, 4]
