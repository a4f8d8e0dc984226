"""The check of a machine with a GPU: its plan, its lines, and that no step keeps the others back."""

import io
import json
import pathlib
import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import pack_checkpoint  # noqa: E402
from gpu_check_steps import plan, reporting, running  # noqa: E402
from gpu_check_steps.running import Step  # noqa: E402

REPORT = f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r}); from gpu_check_steps.reporting import report; "


def python(code):
    return lambda facts, limit: [sys.executable, "-c", REPORT + code]


def run(steps, tmp_path, budget):
    out, work = tmp_path / "out", tmp_path / "work"
    out.mkdir()
    work.mkdir()
    lines = running.run_steps(steps, out, work, budget)
    written = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert written == lines
    return {line["step"]: line for line in lines}, out


def broken(facts, limit):
    raise KeyError("what is not there")


def test_no_step_keeps_the_others_back(tmp_path):
    steps = [
        Step("environment", 0.2, python("report(device='a GPU', driver='1.2', commit='abc')")),
        Step("dies", 0.2, python("report(found=1); print('last words', flush=True); import os; os.abort()")),
        Step("hangs", 0.02, python("report(found=2); import time, signal; time.sleep(99)")),
        Step("cannot_start", 0.1, lambda facts, limit: ["/no/such/program"]),
        Step("cannot_be_planned", 0.1, broken),
        Step("left_out", 0.1, lambda facts, limit: "it is not wanted"),
        Step("knows", 0.5, lambda facts, limit: python(f"report(before={facts['dies'][0]['found']})")(facts, limit)),
    ]
    began = time.monotonic()
    lines, out = run(steps, tmp_path, 60.0)
    assert time.monotonic() - began < 45
    statuses = {name: line["status"] for name, line in lines.items()}
    assert statuses == {
        "environment": "ok",
        "dies": "failed",
        "hangs": "out of time",
        "cannot_start": "failed",
        "cannot_be_planned": "failed",
        "left_out": "skipped",
        "knows": "ok",
    }
    assert lines["dies"]["results"] == [{"found": 1}]
    assert "last words" in lines["dies"]["tail"]
    assert "FileNotFoundError" in lines["cannot_start"]["tail"]
    assert lines["left_out"]["why"] == "it is not wanted"
    assert lines["knows"]["results"] == [{"before": 1}]
    for line in lines.values():
        assert (line["device"], line["driver"], line["commit"]) == ("a GPU", "1.2", "abc")
        assert line["date"]
    assert "last words" in (out / "log.txt").read_text()


def test_the_budget_bounds_everything_and_one_step_takes_the_rest(tmp_path):
    limits = {}

    def noting(name):
        def command(facts, limit):
            limits[name] = limit
            return "only asked"

        return command

    steps = [
        Step("first", 0.2, noting("first")),
        Step("second", 0.2, noting("second")),
        Step("long", 0.3, noting("long"), takes_the_rest=True),
        Step("last", 0.3, noting("last")),
    ]
    run(steps, tmp_path, 100.0)
    assert limits["first"] == pytest.approx(20.0, abs=0.5)
    assert limits["second"] == pytest.approx(25.0, abs=0.5)  # a fourth of the shares that are left
    assert limits["long"] == pytest.approx(70.0, abs=0.5)  # all but what the last one may take
    assert limits["last"] == pytest.approx(100.0, abs=0.5)


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    (tmp_path / "lines").write_text('{"a": 1}\n{"b": ')
    assert reporting.read(tmp_path / "lines") == [{"a": 1}]
    assert reporting.read(tmp_path / "none") == []


def rasterizer(correct, milliseconds):
    return [
        {"workload": "pixel_aligned", "correct": True},
        {"workload": "pixel_aligned", "correct": True, "gradient_ms": milliseconds},
        {"workload": "heavy", "correct": correct, "gradient_ms": 9.0},
    ]


def test_the_fastest_backend_is_one_that_is_correct():
    assert plan.fastest_backend({}) == "xla"
    facts = {"rasterizer_xla": rasterizer(True, 700.0), "rasterizer_triton": rasterizer(True, 60.0)}
    assert plan.fastest_backend(facts) == "triton"
    facts["rasterizer_mosaic"] = rasterizer(False, 30.0)  # wrong on one of the workloads
    assert plan.fastest_backend(facts) == "triton"
    facts["rasterizer_triton"] = facts["rasterizer_triton"][:2]  # died before the other
    assert plan.fastest_backend(facts) == "xla"


@pytest.mark.parametrize("trained", [("diffusion_gs",), ("gsrecon",), ("diffusion_gs", "gsrecon")])
@pytest.mark.parametrize("dry", [False, True])
def test_the_plan(tmp_path, dry, trained):
    steps = plan.make_plan(plan.Setup(tmp_path, tmp_path, tmp_path, dry=dry, trained=trained))
    names = [step.name for step in steps]
    assert names[0] == "environment"
    # Others are held against what plain JAX leaves, and a trained model is written out before anything else is done.
    assert names.index("rasterizer_xla") < names.index("rasterizer_triton")
    ends = [f"{what}_{name}" for name in trained for what in ("training", "checkpoint")]
    assert names[-len(ends) - 1 :] == [*ends, "evaluation"]
    assert sum(step.share for step in steps) == pytest.approx(1.0)
    for step in steps:
        command = step.command({}, 100.0)
        if isinstance(command, str):
            continue
        for file in (word for word in command if word.endswith(".py")):
            assert (ROOT / file).exists() or pathlib.Path(file).exists()


def test_the_name_of_every_option_of_every_step_is_right(tmp_path):
    """A wrong word would be seen on the GPU only; so would a package that a machine for GPUs lacks."""
    code = f"""
import sys
sys.path[:0] = [{str(ROOT / "scripts")!r}, {str(ROOT / "scripts" / "diffusion_gs")!r}]
missing = "imageio_ffmpeg zstandard trimesh skimage viser gradio onnxruntime cv2 pyarrow plyfile"
sys.modules |= dict.fromkeys(missing.split())
import importlib, pathlib
from diffgs_jax.config.parsing import parse_options
from gpu_check_steps import plan
setup = plan.Setup(*[pathlib.Path({str(tmp_path)!r})] * 3)
for name in plan.TRAININGS:
    (setup.work / plan.run_name(name) / "checkpoints").mkdir(parents=True)
gpu = {{"environment": [{{"platform": "gpu"}}]}}
for dry in (False, True):
    for step in plan.make_plan(plan.Setup(setup.out, setup.work, setup.data, dry=dry, trained=tuple(plan.TRAININGS))):
        command = step.command(gpu, 100.0)
        if not isinstance(command, str) and "gpu_check_steps" in command[2] and step.name != "environment":
            module = importlib.import_module(command[2])
            importlib.import_module("diffgs_jax.train"), importlib.import_module("diffgs_jax.commands.view_scores")
            print(step.name, parse_options(module.Arguments, command[3:]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 16


@pytest.mark.parametrize("bits", [7, 5])
def test_weights_come_back_rounded(bits):
    """To nearest in so many bits: half a unit of the last one at most; in seven, what bfloat16 makes of them."""
    values = np.random.default_rng(0).normal(size=5000).astype(np.float32) * 0.02
    values[:3] = [0.0, -1.0, 3e38]
    content = pack_checkpoint._encode(values, bits, {"step": 3})
    with np.load(io.BytesIO(content)) as arrays:
        header = json.loads(arrays["metadata"].tobytes())
        found = pack_checkpoint._decode(arrays["exponents"], arrays["mantissas"], header["bits"], header["count"])
    assert header["step"] == 3
    assert np.all(np.abs(found - values) <= 2.0 ** -(bits + 1) * np.abs(values))
    if bits == 7:
        np.testing.assert_array_equal(found, values.astype(jnp.bfloat16).astype(np.float32))
    assert len(content) < (bits + 1 + 4) / 8 * values.size + 1500  # four bits an exponent, and the headers


@pytest.mark.long
def test_the_dry_run(tmp_path):
    command = [sys.executable, "scripts/gpu_check.py", "--out", str(tmp_path), "--dry-run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert {line["status"] for line in lines} <= {"ok", "skipped"}
    assert (tmp_path / "checkpoint.packed").stat().st_size <= 8e6
