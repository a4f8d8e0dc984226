"""Published files whose weights are no floats, or too large for them: named, and not turned into other weights."""

import json
import re
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from diffgs_jax.errors import DataError
from diffgs_jax.models.diffusion_gs.published_files import read_open_diffusiongs

NAME = "transformer.0.attn.qkv.weight"
KINDS = {
    "int8": (np.ones(4, np.int8), "CharStorage", "I8"),
    "bool": (np.ones(4, bool), "BoolStorage", "BOOL"),
    "int64": (np.ones(4, np.int64), "LongStorage", "I64"),
    "float8_e4m3fn": (np.ones(4, ml_dtypes.float8_e4m3fn), None, "F8_E4M3"),
    "float8_e5m2": (np.ones(4, ml_dtypes.float8_e5m2), None, "F8_E5M2"),
    "float64": (np.asarray([1.0, 1e300, 2.0, -3.0]), "DoubleStorage", "F64"),
}
FLOATS = {
    "float64": (np.asarray([1.0, 3e38, 2.0, np.nan]), "DoubleStorage", "F64"),
    "float16": (np.ones(4, np.float16), "HalfStorage", "F16"),
    "bfloat16": (np.ones(4, ml_dtypes.bfloat16), "BFloat16Storage", "BF16"),
}


def torch_file(path, numbers, kind):
    """What `torch.save({"state_dict": {name: tensor}})` writes, by hand."""

    def text(value):
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    count = bytes([numbers.size if kind else numbers.nbytes])
    storage = f"ctorch\n{kind}\n" if kind else "ctorch.storage\nUntypedStorage\n"
    reference = b"(" + text("storage") + storage.encode() + text("0") + text("cpu") + b"K" + count + b"tQ"
    view = b"K\x00K\x04\x85K\x01\x85\x89}" + (b"" if kind else f"ctorch\n{numbers.dtype.name}\n".encode())
    rebuild = f"ctorch._utils\n_rebuild_tensor_v{2 if kind else 3}\n".encode()
    content = b"\x80\x02}" + text("state_dict") + b"}" + text(NAME) + rebuild + b"(" + reference + view + b"tRss."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", content)
        archive.writestr("a/data/0", numbers.tobytes())


def safetensors_file(path, numbers, kind):
    header = {NAME: {"dtype": kind, "shape": [4], "data_offsets": [0, numbers.nbytes]}}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + numbers.tobytes())


@pytest.mark.parametrize("name", KINDS)
def test_what_is_no_weight_is_refused_by_name(tmp_path, name):
    numbers, storage, kind = KINDS[name]
    torch_file(tmp_path / "a.ckpt", numbers, storage)
    safetensors_file(tmp_path / "a.safetensors", numbers, kind)
    too_large = "has float64 values that are too large"
    for file, stored in (("a.ckpt", name), ("a.safetensors", kind)):
        reason = too_large if name == "float64" else f"is {stored}, which is no type of weights"
        with pytest.raises(DataError, match=rf"{file}: (state_dict\.)?{re.escape(NAME)} {reason}") as caught:
            read_open_diffusiongs(tmp_path / file)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FLOATS)
def test_floats_of_every_size_are_read(tmp_path, name):
    numbers, storage, kind = FLOATS[name]
    torch_file(tmp_path / "a.ckpt", numbers, storage)
    safetensors_file(tmp_path / "a.safetensors", numbers, kind)
    for file in ("a.ckpt", "a.safetensors"):
        found = read_open_diffusiongs(tmp_path / file)
        np.testing.assert_array_equal(found.tensors[NAME].astype(np.float64), numbers.astype(np.float64))


def test_long_names_do_not_multiply(tmp_path):
    safetensors.numpy.save_file({NAME: np.ones(2, np.float32)}, tmp_path / "a.safetensors")
    assert read_open_diffusiongs(tmp_path / "a.safetensors").prefix == ""
    content = b"\x80\x02}X\x00\x00\x01\x00" + b"n" * 65536 + b"}K\x01Nss."
    with zipfile.ZipFile(tmp_path / "a.ckpt", "w") as archive:
        archive.writestr("a/data.pkl", content)
    with pytest.raises(DataError, match="longer than 500 characters"):
        read_open_diffusiongs(tmp_path / "a.ckpt")
