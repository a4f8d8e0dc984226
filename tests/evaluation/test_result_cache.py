import numpy as np
import pytest

from diffgs_jax.errors import UserError
from diffgs_jax.evaluation import keep_in


def counting():
    calls = []

    def compute():
        calls.append(1)
        return {"score/psnr": np.arange(3.0) + len(calls), "pixels": np.zeros((2, 2), np.uint8)}

    return calls, compute


def test_a_piece_is_computed_once(tmp_path):
    calls, compute = counting()
    first = keep_in(tmp_path / "row", {"seed": 1})("batch-0000", compute)
    again = keep_in(tmp_path / "row", {"seed": 1})("batch-0000", compute)
    assert len(calls) == 1 and set(again) == {"score/psnr", "pixels"}
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert [path.name for path in (tmp_path / "row").iterdir()] == ["batch-0000.npz"]


def test_other_settings_and_damage_are_computed_again(tmp_path):
    calls, compute = counting()
    keep_in(tmp_path, {"seed": 1})("batch", compute)
    keep_in(tmp_path, {"seed": 2})("batch", compute)
    assert len(calls) == 2
    for damage in (b"", b"PK\x03\x04 torn", (tmp_path / "batch.npz").read_bytes()[:-40]):
        (tmp_path / "batch.npz").write_bytes(damage)
        keep_in(tmp_path, {"seed": 2})("batch", compute)
    assert len(calls) == 5


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "row").write_text("a file")
    with pytest.raises(UserError, match="cannot create the folder"):
        keep_in(tmp_path / "row", {})("batch", counting()[1])


def test_an_interruption_leaves_nothing(tmp_path):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep_in(tmp_path / "row", {})("batch", interrupted)
    assert not (tmp_path / "row").exists()
