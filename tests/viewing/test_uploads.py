"""Files that a visitor uploads together become posed pictures."""

import json

import pytest

from diffgs_jax.errors import DataError
from diffgs_jax.viewing.uploads import posed_pictures


def uploads(tmp_path, content):
    """Each in a folder of its own, as gradio puts them."""
    paths = []
    for name, text in {"transforms.json": json.dumps(content), "0.png": "zero", "1.png": "one"}.items():
        folder = tmp_path / f"of_{name}"
        folder.mkdir()
        (folder / name).write_text(text)
        paths.append(str(folder / name))
    return paths


def test_pictures_are_found_by_their_names_alone(tmp_path):
    frames = [{"file_path": "images/0.png"}, {"file_path": "C:\\shots\\1.png", "mask_path": "masks/1.png"}]
    (tmp_path / "job").mkdir()
    path = posed_pictures(uploads(tmp_path, {"frames": frames, "camera_angle_x": 1.0}), tmp_path / "job")
    told = json.loads(path.read_text())
    assert told["camera_angle_x"] == 1.0
    assert [frame["file_path"] for frame in told["frames"]] == ["0.png", "1.png"]
    assert told["frames"][1]["mask_path"] == "1.png"
    assert (tmp_path / "job" / "1.png").read_text() == "one"


def test_what_is_no_set_of_posed_pictures_is_refused(tmp_path):
    files = uploads(tmp_path, {"frames": "none"})
    with pytest.raises(DataError, match="lists no frames"):
        posed_pictures(files, tmp_path)
    with pytest.raises(DataError, match="give one transforms.json and the pictures"):
        posed_pictures(files[1:], tmp_path)
