import zipfile

import numpy as np
import pytest

from diffgs_jax.errors import DataError
from diffgs_jax.synthesis.meshes.sweethome3d import CATALOGUE, read_catalogue, unpack_library

TEXT = r"""
# a comment
id=SweetHome3D#BlendSwap-CC-0-Models

id#1=Blend Swap CC-0#armchair
name#1=Armchair
category#1=Office
model#1=/blendswap-cc-0/armchair/armchair.obj
creator#1=Absfrm

name#10=Bill 10\u20ac
model#10=/blendswap-cc-0/bill/bill.obj
modelRotation#10=1 0 0 0 0 1 0 -1 0
"""


def test_reads_entries_escapes_and_rotations(tmp_path):
    chair, bill = read_catalogue(TEXT, tmp_path, "BlendSwap-CC-0")
    assert chair.uid == "BlendSwap-CC-0/armchair" and chair.license == "CC0-1.0"
    assert (chair.name, chair.category, chair.creator) == ("Armchair", "Office", "Absfrm")
    assert chair.path == tmp_path / "blendswap-cc-0/armchair/armchair.obj"
    np.testing.assert_array_equal(chair.rotation, np.eye(3))
    assert bill.name == "Bill 10€"
    # Row by row: what pointed up (y) now points to the back (−z).
    np.testing.assert_array_equal(bill.rotation @ [0, 1, 0], [0, 0, -1])


def test_unpacks_a_library(tmp_path):
    archive = tmp_path / "BlendSwap-CC-0.sh3f"
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr(CATALOGUE, TEXT)
        files.writestr("blendswap-cc-0/armchair/armchair.obj", "v 0 0 0")
    entries = unpack_library(archive, tmp_path / "out")
    assert len(entries) == 2 and entries[0].path.read_text() == "v 0 0 0"


def test_what_is_no_library(tmp_path):
    (tmp_path / "Scopia.sh3f").write_text("no zip")
    with pytest.raises(DataError, match="Scopia.sh3f is no Sweet Home 3D"):
        unpack_library(tmp_path / "Scopia.sh3f", tmp_path)
    with pytest.raises(DataError, match="licence of this library is not known"):
        unpack_library(tmp_path / "Other.sh3f", tmp_path)
    with pytest.raises(DataError, match="no readable rotation"):
        read_catalogue("model#1=/a.obj\nmodelRotation#1=1 2 3", tmp_path, "Scopia")
