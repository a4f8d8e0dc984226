"""Folders of models, local or of a stand-in for the hub."""

import sys
import types

import pytest

from diffgs_jax.errors import UserError
from diffgs_jax.weights import model_folder


@pytest.fixture
def asked(monkeypatch, tmp_path):
    calls = []

    def snapshot_download(name, **options):
        calls.append((name, options))
        if name == "owner/gone":
            raise RuntimeError("404 Client Error\nRepository Not Found")
        return str(tmp_path)

    stand_in = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", stand_in)
    return calls


def test_a_folder_is_taken_as_it_is(asked, tmp_path):
    assert model_folder(str(tmp_path)) == tmp_path
    assert not asked


def test_a_repository_is_fetched(asked, tmp_path):
    assert model_folder("owner/model", files=["unet/*"], revision="abc", download=False) == tmp_path
    options = {"revision": "abc", "allow_patterns": ["unet/*"], "local_files_only": True}
    assert asked == [("owner/model", options)]
    model_folder("owner/model")
    assert asked[1][1] == {"revision": None, "allow_patterns": None, "local_files_only": False}


@pytest.mark.parametrize(
    "name", ["model", "/nowhere/at/all", "../model/x", "owner/model/unet", "https://x.y/z", "a/b c"]
)
def test_what_is_no_name_is_not_asked_for(asked, name):
    with pytest.raises(UserError, match="no repository can have that name"):
        model_folder(name)
    assert not asked


def test_what_the_hub_says_is_one_line(asked):
    with pytest.raises(UserError, match="cannot be fetched: 404 Client Error Repository Not Found"):
        model_folder("owner/gone")


def test_without_its_package_the_hub_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"diffgs_jax\[hub\]"):
        model_folder("owner/model")
