import importlib.util
import json
import pathlib

import pytest

from diffgs_jax.files import json_sha256, write_json

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "compare_samplers.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("compare_samplers", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def options(script, workplace, out, **more):
    places = {"checkpoint": workplace / "model", "data": workplace / "data", "out": out}
    return script.Options(**places, batch_size=3, max_views=2, lpips=False, **more)


@pytest.mark.long
def test_every_cell_is_computed_once(script, workplace, tmp_path):
    out = tmp_path / "out"
    script.main(options(script, workplace, out, samplers=("ddim", "dpm"), steps=(1,)))
    assert {path.name for path in out.iterdir()} == {"samplers.md", "samplers.json", "samplers.png", "cells"}
    # One step is the same whatever the sampler.
    (file,) = (out / "cells").iterdir()
    first = file.stat().st_mtime_ns
    assert file.name == "ddim-1.json"

    # More steps: only what is missing is computed.
    script.main(options(script, workplace, out, samplers=("ddim", "dpm"), steps=(1,)))
    script.main(options(script, workplace, out, samplers=("ddim",), steps=(2, 1)))
    assert {path.name for path in (out / "cells").iterdir()} == {"ddim-1.json", "ddim-2.json"}
    assert file.stat().st_mtime_ns == first
    found = {cell["steps"]: cell for cell in json.loads((out / "samplers.json").read_text())["cells"]}
    assert set(found) == {1, 2} and found[1]["bbox_psnr"] != found[2]["bbox_psnr"]
    assert "| DDIM, 2 |" in (out / "samplers.md").read_text()


def test_a_cell_of_other_settings_or_a_damaged_one_does_not_count(script, tmp_path):
    file = tmp_path / "ddim-1.json"
    write_json(file, {"key": json_sha256({"seed": 0})[:16], "means": {"psnr": 1.0}})
    assert script.read_cell(file, {"seed": 0}) == {"psnr": 1.0}
    assert script.read_cell(file, {"seed": 1}) is None
    file.write_text(file.read_text()[:-9])
    assert script.read_cell(file, {"seed": 0}) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "message"), [((0,), "steps are at least 1"), ((5000,), "sampling steps"), ((), "at least one each")]
)
def test_impossible_steps_are_refused_before_any_work(script, workplace, tmp_path, steps, message):
    with pytest.raises(ValueError, match=message):
        script.main(options(script, workplace, tmp_path / "out", steps=steps))
    assert not (tmp_path / "out").exists()
