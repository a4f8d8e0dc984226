"""A drawer full of pictures goes through one command: each ends in files or in one clear line."""

import numpy as np
import plyfile
import pytest
from pictures import fill
from tiny import command, compilations, failure

from diffgs_jax.sample import main


@pytest.mark.slow
def test_every_picture_ends_in_files_or_one_line(checkpoint, loaded, picture, tmp_path, capsys):
    loaded(picture, steps=3)
    compiled = compilations()
    drawer, out = tmp_path / "drawer", tmp_path / "out"
    expected = fill(drawer)
    assert len(expected) >= 30
    with pytest.raises(SystemExit) as caught:
        main(command(checkpoint, drawer, out, "--frames", "0"))
    assert caught.value.code == 1
    assert not compiled  # one program for all of them

    said = capsys.readouterr()
    errors = said.err.strip().splitlines()
    fails = {name: error for name, error in expected.items() if error is not None}
    assert len(errors) == len(fails)
    for name, error in fails.items():
        (line,) = [line for line in errors if f"{drawer / name} " in line or f"{drawer / name}:" in line]
        assert line.startswith("error: ") and error in line
    made = sorted(set(expected) - set(fails))
    assert said.out.strip().splitlines()[-1] == f"{len(made)} of {len(expected)} samples of {drawer} are in {out}"

    stems = {name: name.rsplit(".", 1)[0] for name in made}
    folders = {stems[name] if list(stems.values()).count(stems[name]) == 1 else name for name in made}
    assert {folder.name for folder in out.iterdir()} == folders
    for folder in out.iterdir():
        assert sorted(path.name for path in folder.iterdir()) == ["gaussians.ply", "sample.json", "views.png"]
        vertex = plyfile.PlyData.read(folder / "gaussians.ply")["vertex"]
        assert len(vertex) and all(np.isfinite(vertex[p.name]).all() for p in vertex.properties)


def test_all_is_well(checkpoint, loaded, picture, tmp_path, capsys):
    main(command(checkpoint, picture.parent, tmp_path / "out", "--frames", "0"))
    assert "1 of 1 samples" in capsys.readouterr().out
    assert [folder.name for folder in (tmp_path / "out").iterdir()] == ["red"]


def test_nothing_is_left_of_failures(checkpoint, loaded, tmp_path, capsys):
    (tmp_path / "drawer").mkdir()
    (tmp_path / "drawer" / "text.png").write_text("no picture")
    code, line = failure(command(checkpoint, tmp_path / "drawer", tmp_path / "out"), capsys)
    assert code == 1 and "text.png is a text file" in line
    assert not (tmp_path / "out").exists()


def test_a_folder_without_pictures(checkpoint, loaded, tmp_path, capsys):
    code, line = failure(command(checkpoint, tmp_path, tmp_path / "out"), capsys)
    assert code == 2 and "holds no pictures" in line


def test_bad_options_are_said_once(checkpoint, loaded, picture, tmp_path, capsys):
    code, line = failure(command(checkpoint, picture.parent, tmp_path / "out", "--steps", "0"), capsys)
    assert code == 2 and "steps" in line


def test_several_samples_are_those_of_their_seeds(checkpoint, loaded, picture, tmp_path):
    main(command(checkpoint, picture, tmp_path / "both", "--samples", "2", "--seed", "4", "--frames", "0"))
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == ["seed_4", "seed_5"]
    main(command(checkpoint, picture, tmp_path / "one", "--seed", "5", "--frames", "0"))
    of_two, alone = ((tmp_path / place / "gaussians.ply").read_bytes() for place in ("both/seed_5", "one"))
    assert of_two == alone
