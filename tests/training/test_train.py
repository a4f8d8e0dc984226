"""The training command as a user runs it: started, killed, continued, overruled, misused."""

import functools
import json
import pathlib
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from diffgs_jax.train import main

TINY = [
    *("--model.network.width", "32", "--model.network.layers", "1", "--model.network.heads", "2"),
    *("--data.resolution", "16", "--data.batch-size", "2", "--data.cache-gigabytes", "0"),
    *("--model.losses.distance-warmup", "2", "--run.log-every", "1", "--run.preview-every", "0"),
]


def arguments(root, folder, *more):
    return [
        "--config", str(root / "configs" / "diffusion_gs" / "quickstart.py"), *TINY,
        "--data.path", str(root / "assets" / "furniture_cc0"), "--run.folder", str(folder), *more,
    ]  # fmt: skip


def losses(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: (line["loss"], line["gradient_norm"]) for line in lines}


@pytest.mark.long
def test_a_run_starts_from_the_weights_of_another_and_counts_its_samples(request, tmp_path):
    root = request.config.rootpath
    main(arguments(root, tmp_path / "first", "--run.steps", "3"))
    first = losses(tmp_path / "first")
    main(
        arguments(
            root,
            tmp_path / "second",
            "--run.steps",
            "3",
            "--run.init-from",
            str(tmp_path / "first"),
            "--model.losses.distance-warmup",
            "0",
            "--run.preview-every",
            "3",
        )  # fmt: skip
    )
    from diffgs_jax.checkpoints import read_metadata

    assert read_metadata(tmp_path / "second")["counters"]["samples"] == 12
    assert losses(tmp_path / "second") != first
    assert (tmp_path / "second" / "previews" / "test_0000003.png").stat().st_size > 1000
    assert list((tmp_path / "second" / "tensorboard").iterdir())


@pytest.mark.long
def test_a_run_starts_from_weights_that_lack_some(request, tmp_path, capsys):
    """A colour skip or a decoder that the other run had not; what it had is taken over, and nothing else is allowed."""
    root = request.config.rootpath
    main(arguments(root, tmp_path / "first", "--run.steps", "1"))
    more = [
        *("--run.steps", "1", "--run.init-from", str(tmp_path / "first")),
        *("--model.network.color-skip", "--model.network.domains", "object", "scene", "--optimizer.learning-rate", "0"),
    ]
    with pytest.raises(SystemExit):
        main(arguments(root, tmp_path / "second", *more))
    assert "is missing" in capsys.readouterr().err
    main(arguments(root, tmp_path / "third", *more, "--run.init-partly"))
    from diffgs_jax.checkpoints import load_weights, read_metadata
    from diffgs_jax.config import from_dict
    from diffgs_jax.models import family

    weights = {}
    for name in ("first", "third"):
        config = from_dict(read_metadata(tmp_path / name)["config"], name)
        like = jax.eval_shape(functools.partial(family(config.model).init, config.model), jax.random.key(0))
        weights[name] = dict(jax.tree_util.tree_leaves_with_path(load_weights(tmp_path / name, like)))
    assert len(weights["third"]) > len(weights["first"])
    for path, leaf in weights["first"].items():
        np.testing.assert_allclose(weights["third"][path], leaf, rtol=1e-6)
    with pytest.raises(SystemExit):
        main(arguments(root, tmp_path / "fourth", *more, "--run.init-partly", "--model.network.width", "64"))
    assert "belongs to another architecture" in capsys.readouterr().err


@pytest.mark.slow
def test_other_settings_do_not_mix_into_a_run(request, tmp_path, capsys):
    root = request.config.rootpath
    main(arguments(root, tmp_path / "run", "--run.steps", "1"))
    with pytest.raises(SystemExit) as stopped:
        main(arguments(root, tmp_path / "run", "--run.steps", "2", "--optimizer.learning-rate", "1.0"))
    assert stopped.value.code == 2
    assert "holds a run with optimizer.learning_rate = 0.0004, not 1.0" in capsys.readouterr().err


@pytest.mark.slow
def test_two_trainings_do_not_share_a_folder(request, tmp_path, capsys):
    """The second is refused while the first trains; a killed one keeps nobody out."""
    words = arguments(request.config.rootpath, tmp_path / "run", "--run.steps", "100000")
    first = subprocess.Popen([sys.executable, "-m", "diffgs_jax.train", *words], stderr=subprocess.DEVNULL)
    try:
        while not (tmp_path / "run" / "config.json").exists():
            assert first.poll() is None
            time.sleep(0.05)
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 2
        error = capsys.readouterr().err.splitlines()
        assert len(error) == 1 and "another process is training in" in error[0]
    finally:
        first.kill()
        first.wait()
    main(arguments(request.config.rootpath, tmp_path / "run", "--run.steps", "1"))


@pytest.mark.long
def test_split_gaussians_are_trained_on(request, tmp_path):
    """`scripts/diffusion_gs/split_gaussians.py` says with which settings; and does not write over what is there."""
    root = request.config.rootpath
    main(arguments(root, tmp_path / "coarse", "--run.steps", "1"))
    script = [sys.executable, str(root / "scripts" / "diffusion_gs" / "split_gaussians.py")]
    script += ["--run", str(tmp_path / "coarse"), "--out", str(tmp_path / "split")]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    settings = done.stdout.split(": ")[1].split()
    more = ["--run.steps", "1", "--run.init-from", str(tmp_path / "split"), *settings]
    main(arguments(root, tmp_path / "fine", *more))
    again = subprocess.run(script, capture_output=True, text=True)
    assert (
        again.returncode == 2
        and again.stderr == f"error: {tmp_path / 'split'} exists already; delete it or choose another folder\n"
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--run.stepz", "1"], "unknown config field --run.stepz; did you mean --run.steps?"),
        (["--run.folder", "/proc/none/run"], "cannot write to the run folder /proc/none/run"),
        (["--run.steps", "abc"], "--run.steps: invalid literal for int() with base 10: 'abc'"),
        (["--data.path", "/none"], "/none"),
        (["--run.init-from", "/none"], "there is no checkpoint folder /none"),
    ],
)
def test_bad_usage_is_one_line_and_code_2(request, tmp_path, capsys, more, message):
    with pytest.raises(SystemExit) as stopped:
        main(arguments(request.config.rootpath, tmp_path / "run", *more))
    assert stopped.value.code == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and error[0].startswith("error: ") and message in error[0]


@pytest.mark.slow
def test_damaged_run_folders_are_one_line_and_code_1(request, tmp_path, capsys):
    """A damaged line of metrics is dropped; damaged settings and checkpoints are named."""
    root, run_folder = request.config.rootpath, tmp_path / "run"
    main(arguments(root, run_folder, "--run.steps", "1"))
    with open(run_folder / "metrics.jsonl", "ab") as file:
        file.write(b"3\n\xff\xfe{\n")
    main(arguments(root, run_folder, "--run.steps", "2"))
    assert list(losses(run_folder)) == [1, 2]
    capsys.readouterr()
    settings = (run_folder / "config.json").read_text()
    for damaged, healed in ((run_folder / "config.json", settings), (run_folder / "checkpoints/2/state/_METADATA", "")):
        damaged.write_text(damaged.read_text()[:100])
        with pytest.raises(SystemExit) as stopped:
            main(arguments(root, run_folder, "--run.steps", "3"))
        assert stopped.value.code == 1
        error = capsys.readouterr().err.splitlines()
        assert len(error) == 1 and error[0].startswith("error: ") and "damaged" in error[0]
        damaged.write_text(healed)


@pytest.mark.slow
def test_a_checkpoint_of_another_architecture_is_refused(request, tmp_path, capsys):
    root = request.config.rootpath
    main(arguments(root, tmp_path / "first", "--run.steps", "1"))
    with pytest.raises(SystemExit) as stopped:
        main(
            arguments(
                root, tmp_path / "second", "--run.init-from", str(tmp_path / "first"), "--model.network.width", "64"
            )
        )
    assert stopped.value.code == 1
    assert "belongs to another architecture" in capsys.readouterr().err


def test_a_missing_config_is_bad_usage(capsys):
    for words in ([], ["--config", str(pathlib.Path("/none.py"))]):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 2
    assert "there is no config file /none.py" in capsys.readouterr().err
