"""The reader of torch.save's files against PyTorch itself, and what it refuses."""

import argparse
import os
import pathlib
import zipfile

import numpy as np
import pytest

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.weights import LeftOut, load_torch

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("mapped", [False, True])
def test_tensors_of_every_layout_are_read_as_torch_reads_them(tmp_path, mapped):
    base = torch.arange(60, dtype=torch.float64).reshape(3, 4, 5)
    kinds = (torch.uint8, torch.int16, torch.half, torch.bool, torch.int64, torch.bfloat16)
    tensors = {
        "view": base[1:, ::2],
        "turned": base.permute(2, 0, 1),
        "empty": base[:0],
        "scalar": base[2, 3, 4],
        "shared": base[0],
        "parameter": torch.nn.Parameter(torch.ones(3)),
        **{str(kind): (torch.arange(3) / 2).to(kind) for kind in kinds},
    }
    torch.save({"nested": [tensors, ("text", 1, 2.5, None, True, {3}), base.shape]}, tmp_path / "a.pt")
    found, rest, shape = load_torch(tmp_path / "a.pt", mapped=mapped)["nested"]
    assert rest == ("text", 1, 2.5, None, True, {3}) and shape == (3, 4, 5)
    for name, tensor in tensors.items():
        theirs = tensor.detach().float().numpy() if tensor.dtype == torch.bfloat16 else tensor.detach().numpy()
        np.testing.assert_array_equal(found[name].astype(theirs.dtype), theirs)
        assert str(found[name].dtype) == str(tensor.dtype).removeprefix("torch.")
        assert not found[name].flags.writeable


def test_a_state_dict_is_mapped_and_not_read(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.LayerNorm(64))
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, tmp_path / "a.ckpt")
    found = load_torch(tmp_path / "a.ckpt", mapped=True)["state_dict"]
    assert list(found) == list(model.state_dict())
    weight = found["0.weight"]
    np.testing.assert_array_equal(weight, model[0].weight.detach().numpy())
    while not isinstance(weight, np.memmap) and weight.base is not None:
        weight = weight.base
    assert isinstance(weight, np.memmap)


def test_an_archive_that_was_packed_anew_and_compressed_is_read(tmp_path):
    torch.save({"a": torch.arange(1000)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as old, zipfile.ZipFile(tmp_path / "b.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name), zipfile.ZIP_DEFLATED)
    np.testing.assert_array_equal(load_torch(tmp_path / "b.pt", mapped=True)["a"], np.arange(1000))


class Malicious:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("leave_out", [(), ("omegaconf", "argparse", "pathlib")])
def test_a_pickle_that_would_run_code_is_refused_and_nothing_runs(tmp_path, leave_out):
    flag = tmp_path / "flag"
    for call in ((os.system, f"touch {flag}"), (pathlib.Path.touch, flag), (eval, f"open({str(flag)!r}, 'w')")):
        torch.save({"state_dict": {"a": torch.ones(1)}, "hook": Malicious(*call)}, tmp_path / "a.ckpt")
        with pytest.raises(DataError, match="a.ckpt: its pickle asks for .*; it is not run"):
            load_torch(tmp_path / "a.ckpt", leave_out=leave_out)
        assert not flag.exists()


def test_what_is_left_out_is_not_made(tmp_path):
    torch.save({"a": torch.ones(2), "hyper_parameters": argparse.Namespace(width=3)}, tmp_path / "a.ckpt")
    with pytest.raises(DataError, match="argparse.Namespace"):
        load_torch(tmp_path / "a.ckpt")
    found = load_torch(tmp_path / "a.ckpt", leave_out=("argparse",))
    assert type(found["hyper_parameters"]) is LeftOut and found["a"].sum() == 2


def test_other_files_are_one_line(tmp_path):
    torch.save({"a": torch.arange(10_000)}, tmp_path / "whole.pt")
    data = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "half.pt").write_bytes(data[: len(data) // 2])
    torch.save({"a": torch.arange(10)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "text.pt").write_text("a picture")
    (tmp_path / "empty.pt").touch()
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("word/document.xml", "")
    expected = {
        "half": "half.pt is truncated or no zip archive",
        "old": "old.pt is from before PyTorch 1.6; .* load and save it with a later PyTorch",
        "text": "text.pt is truncated or no file of torch.save",
        "empty": "empty.pt is truncated or no file of torch.save",
        "other": "other.pt: a zip archive, but no file of torch.save",
    }
    for name, message in expected.items():
        with pytest.raises(DataError, match=message) as caught:
            load_torch(tmp_path / f"{name}.pt", mapped=True)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="cannot read .*: No such file"):
        load_torch(tmp_path / "missing.pt")


def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path):
    torch.save({"a": torch.ones(4)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as old, zipfile.ZipFile(tmp_path / "b.pt", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, data.replace(b"K\x04\x85", b"K\x40\x85") if name.endswith("data.pkl") else data)
    with pytest.raises(DataError, match="b.pt: a tensor reaches beyond its storage"):
        load_torch(tmp_path / "b.pt", mapped=True)
