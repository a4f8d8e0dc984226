import json
import os
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "compare_samplers.py"


def run(workplace, out, *more):
    arguments = ["--checkpoint", str(workplace / "model"), "--data", str(workplace / "data"), "--out", str(out)]
    command = [sys.executable, str(SCRIPT), *arguments, "--batch-size", "2", "--no-lpips", *more]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ)


def test_every_cell_is_computed_once(workplace, tmp_path):
    out = tmp_path / "out"
    first = run(workplace, out, "--samplers", "ddim", "dpm", "--steps", "2", "1")
    assert first.returncode == 0, first.stderr
    names = {"samplers.md", "samplers.json", "samplers.png", "cells"}
    assert {path.name for path in out.iterdir()} == names
    # One step is the same whatever the sampler.
    written = {path.name: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert set(written) == {"ddim-1.json", "ddim-2.json", "dpm-2.json"}
    cells = json.loads((out / "samplers.json").read_text())["cells"]
    found = {(cell["sampler"], cell["steps"]): cell for cell in cells}
    assert set(found) == {(kind, steps) for kind in ("ddim", "dpm") for steps in (1, 2)}
    assert found["ddim", 1]["bbox_psnr"] == found["dpm", 1]["bbox_psnr"] != found["ddim", 2]["bbox_psnr"]
    assert "| DPM-Solver++, 2 |" in (out / "samplers.md").read_text()

    # More steps: only what is missing is computed. Another seed: all is.
    again = run(workplace, out, "--samplers", "ddim", "--steps", "1", "2")
    assert again.returncode == 0 and "ddim 2" not in again.stderr
    assert {path.name: path.stat().st_mtime_ns for path in (out / "cells").iterdir()} == written
    other = run(workplace, out, "--samplers", "ddim", "--steps", "1", "--seed", "1")
    assert other.returncode == 0 and (out / "cells" / "ddim-1.json").stat().st_mtime_ns != written["ddim-1.json"]


@pytest.mark.parametrize(
    ("more", "message"), [(["--steps", "0"], "steps are at least 1"), (["--steps", "5000"], "sampling steps")]
)
def test_impossible_steps_are_one_line(workplace, tmp_path, more, message):
    done = run(workplace, tmp_path / "out", *more)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and message in done.stderr and len(done.stderr.splitlines()) == 1
