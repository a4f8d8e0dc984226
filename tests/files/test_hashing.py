"""Hashes are compared with those of other days and programs: they are standard ones of stated bytes."""

import hashlib
import pathlib
import subprocess

import jax.numpy as jnp
import numpy as np
import pytest

from diffgs_jax.errors import UserError
from diffgs_jax.files import CACHE_VARIABLE, arrays_sha256, cache_folder, file_sha256, json_sha256, model_sha256


def test_a_file_has_the_published_hash(tmp_path):
    """FIPS 180-2, appendix B.1 and B.3: "abc", and a million times "a"."""
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path.write_bytes(b"a" * 1_000_000)
    assert file_sha256(path) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    assert subprocess.check_output(["sha256sum", path], text=True).split()[0] == file_sha256(path)
    for name in ("none", "."):
        with pytest.raises(UserError, match="^cannot read [^\n]+$"):
            file_sha256(tmp_path / name)


def test_settings_are_hashed_as_text_with_sorted_keys():
    expected = hashlib.sha256(rb'{"a": [1, 2.5, null], "b": "\u00e9"}').hexdigest()
    assert json_sha256({"b": "é", "a": (1, 2.5, None)}) == expected
    assert json_sha256({"path": pathlib.PurePosixPath("a/b")}) == json_sha256({"path": "a/b"})


def test_arrays_are_hashed_with_names_types_and_shapes():
    tree = {"b": [np.asarray([1, 256], "<i2")], "a": np.asarray([[1.0], [-2.0]], "<f4").T}
    expected = b"['a'] <f4 (1, 2)\n\x00\x00\x80\x3f\x00\x00\x00\xc0" + b"['b'][0] <i2 (2,)\n\x01\x00\x00\x01"
    assert arrays_sha256(tree) == hashlib.sha256(expected).hexdigest()
    assert arrays_sha256({"a": jnp.asarray(tree["a"]), "b": tree["b"]}) == arrays_sha256(tree)
    row = np.arange(6, dtype=np.float32)
    others = [{"a": row}, {"b": row}, {"a": row.reshape(2, 3)}, {"a": row.astype(np.int32)}, {"a": row + 1}]
    assert len({arrays_sha256(one) for one in others}) == len(others)
    assert arrays_sha256({"a": jnp.ones(3, jnp.bfloat16)}) != arrays_sha256({"a": jnp.ones(3, jnp.float16)})


def test_a_model_is_hashed_with_its_settings():
    expected = b'{"kind": "k", "width": 2}' + b"['w']\x00\x00\x80\x3f"
    settings, params = {"width": 2, "kind": "k"}, {"w": np.float32([1.0])}
    assert model_sha256(settings, params) == hashlib.sha256(expected).hexdigest()


def test_the_cache_is_where_the_user_says(monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, "/some/where")
    assert cache_folder() == pathlib.Path("/some/where")
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_folder() == pathlib.Path("/home/somebody/.cache/diffgs_jax")

    def homeless(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(pathlib.Path, "expanduser", homeless)
    with pytest.raises(UserError, match=CACHE_VARIABLE):
        cache_folder()
