"""What a kill loses in the first minutes, and that a handful of objects is enough to train on."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from diffgs_jax.checkpoints import latest_step
from diffgs_jax.commands import training
from diffgs_jax.config import RunConfig, TrainConfig
from diffgs_jax.data import DataConfig, open_store
from diffgs_jax.data.records import encode_record
from diffgs_jax.data.store import write_store
from diffgs_jax.models.diffusion_gs import DiffusionGSConfig
from diffgs_jax.training import make_preview

CONFIG = TrainConfig(model=DiffusionGSConfig())


def saved_at(monkeypatch, config, minutes):
    """Returns the seconds at which a run of steps of one second saves by the clock."""
    times, last = [], 0.0
    for now in range(1, 60 * minutes):
        monkeypatch.setattr(training.time, "perf_counter", lambda now=now: float(now))
        if training._is_due(config, 0.0, last):
            last = float(now)
            times.append(now)
    return times


def test_a_kill_after_two_minutes_loses_less_than_one(monkeypatch):
    times = saved_at(monkeypatch, CONFIG, 120)
    lost = np.diff([0, *times])
    assert [time for time in times if time <= 120] == [46, 92]
    assert (lost[np.asarray(times) <= 180] <= 60).all()
    assert (lost <= np.maximum(46, np.asarray(times) / 4 + 1)).all()
    assert lost.max() <= 601 and lost[-1] > 590  # as often as was asked for, in the end


@pytest.mark.parametrize(("seconds", "count"), [(0, 0), (20, 14)])
def test_what_is_asked_for_is_done(monkeypatch, seconds, count):
    config = dataclasses.replace(CONFIG, run=RunConfig(checkpoint_seconds=seconds))
    assert len(saved_at(monkeypatch, config, 5)) == count


def test_the_first_preview_comes_after_a_tenth():
    due = [step for step in range(1, 1201) if training._is_preview(CONFIG, step)]
    assert due == [50, 500, 1000]


def test_previews_show_training_objects_where_none_are_held_out(tmp_path):
    shipped = open_store("assets/furniture_cc0")
    records = [shipped[index] for index in range(2)]
    entries = [(record.uid, lambda record=record: encode_record(record)) for record in records]
    write_store(tmp_path / "mine", {"train": entries, "test": []}, {"name": "mine"})
    data = DataConfig(path=str(tmp_path / "mine"), resolution=16, batch_size=2)
    assert callable(make_preview(CONFIG.model, data, RunConfig(preview_objects=2)))
    config = dataclasses.replace(CONFIG, data=data)
    assert "no objects are held out: previews show training objects" in training.told(config, 3.0)
    assert "held out" not in training.told(CONFIG, 3.0) and "compiled in 3 s" in training.told(CONFIG, 3.0)


@pytest.mark.long
def test_a_real_kill_after_two_minutes_of_quickstart(tmp_path):
    """Two minutes from the first step on, since compiling takes as long as the machine needs."""
    words = ["--config", "configs/diffusion_gs/quickstart.py", "--run.folder", str(tmp_path / "run")]
    program = subprocess.Popen(
        [sys.executable, "-u", "-m", "diffgs_jax.train", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert any("compiled in" in line for line in program.stdout)
    time.sleep(120)
    os.killpg(program.pid, signal.SIGKILL)
    killed = time.time()
    program.wait()
    saved = tmp_path / "run" / "checkpoints"
    lost = killed - (saved / str(latest_step(saved)) / "SHA256SUMS").stat().st_mtime
    print(f"{lost:.0f} s are lost")
    assert lost <= 60
