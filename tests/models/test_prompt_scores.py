"""`evaluate --prompts` scores splats of prompts by the networks that a user names."""

import json

import numpy as np
import pytest
import tiny_controlled
from test_vision_language import folders, golden

from diffgs_jax import evaluate

__all__ = ["folders", "golden"]


@pytest.mark.slow
def test_splats_of_prompts_are_scored(folders, tmp_path, capsys):
    base = tiny_controlled.write_base(tmp_path)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red chair\n\na lamp\na bed\n")
    common = ["--checkpoint", base, "--prompts", str(prompts), "--steps", "2"]
    networks = ["--clip", str(folders[0]), "--image-reward", str(folders[1])]
    evaluate.main([*common, *networks, "--out", str(tmp_path / "scores")])
    found = json.loads((tmp_path / "scores" / "evaluation.json").read_text())
    assert set(found["means"]) == {"CLIP similarity, %", "R-precision, %", "ImageReward"}
    assert all(np.isfinite(value) for one in found["means"].values() for value in one.values())
    assert len(found["views"]["ImageReward"]) == 3 and found["settings"]["R-precision by chance, %"] == 33.33
    assert "| ImageReward |" in (tmp_path / "scores" / "evaluation.md").read_text()
    assert (tmp_path / "scores" / "grid.png").exists()
    for words, line in (
        (common, "nothing would be scored"),
        (["--checkpoint", base, *networks], "score splats of --prompts"),
        (["--checkpoint", base], "is shown no view"),
        ([*common[:3], str(tmp_path / "none.txt"), *networks], "none.txt"),
        ([*common, "--clip", str(tmp_path / "none")], "there is no folder"),
    ):
        with pytest.raises(SystemExit):
            evaluate.main([*words, "--out", str(tmp_path / "no")])
        told = capsys.readouterr().err.strip().splitlines()
        assert line in told[-1]
