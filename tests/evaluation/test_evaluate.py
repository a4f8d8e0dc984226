import json
import pathlib

import numpy as np
import pytest

from diffgs_jax import evaluate


def run(workplace, out, *more):
    arguments = ["--checkpoint", str(workplace / "model"), "--data", str(workplace / "data"), "--out", str(out)]
    evaluate.main([*arguments, "--steps", "2", "--batch-size", "2", *more])
    return json.loads((pathlib.Path(out) / "evaluation.json").read_text())


@pytest.mark.slow
def test_command_line_writes_table_numbers_and_pictures(workplace, tmp_path, capsys):
    measured = run(workplace, tmp_path / "out")
    said = [line for line in capsys.readouterr().out.splitlines() if "is left out" in line]
    assert len(said) == 1 and "LPIPS (alex, vgg)" in said[0] and "scripts/fetch_lpips.py" in said[0]
    assert "LPIPS (" not in (tmp_path / "out" / "evaluation.md").read_text()
    names = {"evaluation.json", "evaluation.md", "worst.png", "best.png", "grid.png", "curves.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    assert list(measured["means"]) == [
        "model", "model, one step from noise",
        "condition view copied", "condition view as billboard", "mean training view",
    ]  # fmt: skip
    best = max(row["bbox_psnr"] for name, row in measured["means"].items() if "model" not in name)
    assert measured["margin"]["bbox_psnr"] == pytest.approx(measured["means"]["model"]["bbox_psnr"] - best)
    assert measured["means"]["model"]["seconds"] > 0
    assert set(measured["objects"]) == {"x", "y", "z"}
    assert measured["settings"]["target views"] == 9
    assert measured["settings"]["trained samples"] == 8
    right, wrong = measured["swap"]["right"], measured["swap"]["wrong"]
    assert measured["swap"]["difference"] == pytest.approx(right - wrong)
    per_object = [scores["bbox_psnr"] for scores in measured["objects"].values()]
    assert np.mean(per_object) == pytest.approx(measured["means"]["model"]["bbox_psnr"])
    assert np.isfinite([value for row in measured["means"].values() for value in row.values()]).all()
    assert "mean training view" in (tmp_path / "out" / "evaluation.md").read_text()

    # The same command gives the same numbers, and baselines change none of them.
    again = run(workplace, tmp_path / "again", "--no-baselines", "--no-lpips", "--no-one-step")
    assert "is left out" not in capsys.readouterr().out
    assert list(again["means"]) == ["model"] and again["margin"] is None
    for name, value in measured["means"]["model"].items():
        assert name == "seconds" or again["means"]["model"][name] == value
    assert again["swap"] == measured["swap"]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--max-objects", "0"], 2, "max_objects must be at least 1"),
        (["--steps", "0"], 2, "sampling steps"),
        (["--index", "index.json", "--max-views", "2"], 2, "max_views is for objects"),
        (["--inception", "nowhere.onnx"], 2, "there is no file nowhere.onnx"),
        (["--data", "nowhere"], 2, "there is no dataset folder nowhere"),
        (["--checkpoint", "nowhere"], 2, "there is no checkpoint folder"),
    ],
)
def test_bad_usage_is_one_line_and_leaves_nothing(workplace, tmp_path, capsys, more, code, message):
    with pytest.raises(SystemExit) as exit_info:
        run(workplace, tmp_path / "out", *more)
    assert exit_info.value.code == code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not (tmp_path / "out").exists()
