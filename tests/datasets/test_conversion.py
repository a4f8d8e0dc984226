"""The converter as users run it, and the objects it renders itself; counts and reasons against what was spoiled."""

import gzip
import importlib.util
import json
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import open_store
from diffgs_jax.data.split import split_of
from diffgs_jax.data.store import read_index
from diffgs_jax.datasets import LazyRecord, find_objaverse
from diffgs_jax.datasets.conversion import ConversionSettings, convert
from diffgs_jax.errors import DataError, UserError

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "convert_dataset.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("convert_dataset", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["convert_dataset"] = module
    spec.loader.exec_module(module)
    return module


def items_of(records, spoil=()):
    def read(record):
        if record.uid in spoil:
            raise DataError("it is spoiled")
        return record

    return [LazyRecord(record.uid, "file", lambda record=record: read(record)) for record in records]


def test_bad_records_are_left_out_and_nothing_else_is_lost(numbered_record, tmp_path):
    records = [numbered_record(number) for number in range(9)]
    poses = records[4].cameras.camera_to_world.copy()
    poses[2, :3, 0] *= -1
    records[4] = records[4]._replace(cameras=records[4].cameras._replace(camera_to_world=poses))
    again = [*items_of(records, {"thing/006"}), *items_of(records[:1])]
    skipped = convert(again, tmp_path / "out", ConversionSettings(test_percent=40.0), description={"name": "n"})
    assert set(skipped) == {"thing/004", "thing/006", "thing/000 (again)"}
    assert skipped["thing/004"].startswith("file, record thing/004: view 2 has a left-handed pose")
    assert skipped["thing/006"] == "file, record thing/006: it is spoiled"
    stored = {}
    for split in ("train", "test"):
        for record in open_store(tmp_path / "out", split):
            assert split == split_of(record.uid, 40.0)
            stored[record.uid] = record
    assert set(stored) == {record.uid for record in records} - set(skipped)
    for record in records:
        if record.uid in stored:
            assert stored[record.uid].images == record.images
    assert read_index(tmp_path / "out")["skipped"] == skipped
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_past_the_limit_it_stops_and_goes_on_later(numbered_record, tmp_path):
    records = [numbered_record(number) for number in range(6)]
    bad = {"thing/002", "thing/003"}
    with pytest.raises(
        DataError, match="2 bad records, more than max_bad_records = 1; the last: file, record thing/003"
    ):
        convert(
            items_of(records, bad), tmp_path / "out", ConversionSettings(max_bad_records=1), description={"name": "n"}
        )
    assert not (tmp_path / "out").exists()
    read = []

    def counting(item):
        return item._replace(read=lambda: (read.append(item.uid), item.read())[1])

    skipped = convert(
        map(counting, items_of(records, bad)), tmp_path / "out", ConversionSettings(), description={"name": "n"}
    )
    assert set(skipped) == bad
    assert "thing/000" not in read and "thing/001" not in read and bad <= set(read)
    with pytest.raises(UserError, match="exists already"):
        convert([], tmp_path / "out", ConversionSettings(), description={})
    with pytest.raises(DataError, match="no record could be read"):
        convert([], tmp_path / "empty", ConversionSettings(), description={})


def test_the_dataset_s_own_split_counts_unless_a_list_says_otherwise(numbered_record, tmp_path):
    items = [
        item._replace(split="test" if number % 2 else "train")
        for number, item in enumerate(items_of([numbered_record(n) for n in range(4)]))
    ]
    convert(items, tmp_path / "own", ConversionSettings(), description={})
    assert open_store(tmp_path / "own", "test").uids == ["thing/001", "thing/003"]
    convert(items, tmp_path / "list", ConversionSettings(), description={}, test_uids={"thing/000"})
    assert open_store(tmp_path / "list", "test").uids == ["thing/000"]
    convert(items, tmp_path / "few", ConversionSettings(most=2), description={})
    assert read_index(tmp_path / "few")["splits"]["train"]["uids"] == ["thing/000"]


def write_capture(folder, ring, tools):
    size = ring.pictures.shape[1]
    folder.mkdir(parents=True)
    frames = []
    for view, pose in enumerate(ring.cameras.camera_to_world.astype(float)):
        (folder / f"{view}.png").write_bytes(tools.png(ring.pictures[view]))
        frames.append({"file_path": str(view), "transform_matrix": (pose @ np.diag([1.0, -1, -1, 1])).tolist()})
    angle = 2 * np.arctan(0.5 / float(ring.cameras.intrinsics[0, 0]))
    (folder / "transforms.json").write_text(
        json.dumps({"camera_angle_x": angle, "w": size, "h": size, "frames": frames})
    )


def test_the_command_line(script, ring, tools, tmp_path, capsys):
    write_capture(tmp_path / "captures" / "horse", ring, tools)
    write_capture(tmp_path / "captures" / "pony", ring, tools)
    (tmp_path / "captures" / "pony" / "3.png").unlink()
    (tmp_path / "test.txt").write_text("# held out\nhorse\n")

    words = ["--in", str(tmp_path / "captures"), "--out", str(tmp_path / "out"), "--size", "32"]
    script.main(parse_options(script.Arguments, [*words, "--test-list", str(tmp_path / "test.txt")]))
    assert "0 training and 1 test records, 1 left out" in capsys.readouterr().out
    index = read_index(tmp_path / "out")
    assert index["layout"] == "transforms_json" and "3 is missing" in index["skipped"]["pony"]
    (record,) = open_store(tmp_path / "out", "test")
    assert len(record.images) == 12 and record.domain == "object"
    (tmp_path / "nothing").mkdir()
    for words, message in (
        (["--out", "x"], "--in is missing"),
        (["--in", "nowhere", "--out", "x"], "there is no file or folder nowhere"),
        (["--in", str(tmp_path / "nothing"), "--out", "x"], "not recognised"),
    ):
        with pytest.raises(UserError, match=message):
            script.main(parse_options(script.Arguments, words))


def test_every_kind_of_bad_input_is_named_counted_and_costs_nothing_else(script, ring, tools, tmp_path, capsys):

    few = ring._replace(cameras=type(ring.cameras)(*(array[:4] for array in ring.cameras)), pictures=ring.pictures[:4])

    def spoil_frame(change):
        def spoil(folder):
            content = json.loads((folder / "transforms.json").read_text())
            change(content["frames"][2])
            (folder / "transforms.json").write_text(json.dumps(content))

        return spoil

    def truncate(name):
        return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-40])

    size = ring.pictures.shape[1]
    faults = {
        "truncated": (truncate("transforms.json"), "is not JSON"),
        "unreadable": (truncate("2.png"), "2 is an unreadable picture|2.png is an unreadable picture"),
        "nan": (
            spoil_frame(lambda frame: frame["transform_matrix"][1].__setitem__(3, float("nan"))),
            "NaN is no number of JSON",
        ),
        "mirrored": (
            spoil_frame(lambda frame: [row.__setitem__(0, -row[0]) for row in frame["transform_matrix"]]),
            "2 has a left-handed pose",
        ),
        "missing": (lambda folder: (folder / "2.png").unlink(), "/2 is missing"),
        "count": (
            spoil_frame(lambda frame: frame.__setitem__("transform_matrix", [[1.0] * 4] * 2)),
            "2 has no readable pose",
        ),
        "empty": (
            lambda folder: (folder / "2.png").write_bytes(tools.png(np.zeros((size, size, 4), np.uint8))),
            "view 2 has an empty mask",
        ),
        "focal": (spoil_frame(lambda frame: frame.__setitem__("fl_x", 1e-3)), "2 has absurd intrinsics"),
    }
    for name, (spoil, _) in faults.items():
        write_capture(tmp_path / "in" / name, few, tools)
        spoil(tmp_path / "in" / name)
    for name in ("good", "sound"):
        write_capture(tmp_path / "in" / name, few, tools)
    words = ["--in", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--test-percent", "0"]
    with pytest.raises(DataError, match="8 bad records, more than max_bad_records = 7"):
        script.main(parse_options(script.Arguments, [*words, "--max-bad-records", "7"]))
    script.main(parse_options(script.Arguments, [*words, "--max-bad-records", "8"]))
    assert "2 training and 0 test records, 8 left out" in capsys.readouterr().out
    skipped = read_index(tmp_path / "out")["skipped"]
    assert set(skipped) == set(faults)
    for name, (_, message) in faults.items():
        assert skipped[name].startswith(f"{tmp_path / 'in' / name / 'transforms.json'}, record {name}: ")
        assert re.search(message, skipped[name]), skipped[name]
    assert [record.uid for record in open_store(tmp_path / "out")] == ["good", "sound"]


def test_the_command_line_says_what_is_wrong_in_one_line(tmp_path):
    command = [sys.executable, str(SCRIPT), "--in", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def objaverse_cache(tmp_path_factory):
    """The package's cache, its meshes written by trimesh."""
    trimesh = pytest.importorskip("trimesh")
    cache = tmp_path_factory.mktemp("home") / ".objaverse" / "hf-objaverse-v1"
    (cache / "glbs" / "000-023").mkdir(parents=True)
    (cache / "metadata").mkdir()
    horse = trimesh.load_scene(pathlib.Path(__file__).parent / "horse" / "horse2.obj")
    horse.export(cache / "glbs" / "000-023" / "aaa.glb")
    trimesh.creation.icosphere(1).export(cache / "glbs" / "000-023" / "bbb.glb")
    tables = {
        "object-paths.json.gz": {
            "aaa": "glbs/000-023/aaa.glb",
            "bbb": "glbs/000-023/bbb.glb",
            "ccc": "glbs/000-023/ccc.glb",
        },
        "metadata/000-023.json.gz": {
            "aaa": {"name": "My horse", "license": "by-nc", "user": {"username": "ann", "displayName": "Ann"}},
            "bbb": {"name": "Ball", "license": "cc0", "user": {"username": "bob", "displayName": ""}},
        },
        "lvis-annotations.json.gz": {"race_horse": ["aaa"]},
    }
    for name, content in tables.items():
        with gzip.open(cache / name, "wt") as file:
            json.dump(content, file)
    return cache


def test_objaverse_s_cache_is_read_offline(objaverse_cache, tmp_path):
    for path in (objaverse_cache, objaverse_cache.parent):
        horse, ball = find_objaverse(path)
        assert (horse.uid, horse.caption, horse.name, horse.creator) == ("aaa", "race horse", "My horse", "Ann")
        assert (horse.license, ball.license) == ("CC-BY-NC-4.0", "CC0-1.0")
        assert (ball.caption, ball.creator) == ("Ball", "bob")
    assert [mesh.uid for mesh in find_objaverse(objaverse_cache, ["bbb"])] == ["bbb"]
    shutil.copy(objaverse_cache / "glbs" / "000-023" / "bbb.glb", tmp_path / "own.glb")
    (own,) = find_objaverse(tmp_path)
    assert own.uid == "own" and own.license == "" and own.caption is None
    with pytest.raises(UserError, match="lacks 1 of the 2 wanted meshes, the first is ccc"):
        find_objaverse(objaverse_cache, ["aaa", "ccc"])
    (tmp_path / "own.glb").unlink()
    with pytest.raises(UserError, match="no GLB"):
        find_objaverse(tmp_path)


def test_the_package_finds_the_same_meshes(objaverse_cache):
    objaverse = pytest.importorskip("objaverse")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objaverse, "_VERSIONED_PATH", str(objaverse_cache))
        paths = objaverse.load_objects(["aaa", "bbb"])
        names = objaverse.load_annotations(["aaa", "bbb"])
    for mesh in find_objaverse(objaverse_cache):
        assert str(mesh.path) == paths[mesh.uid] and mesh.name == names[mesh.uid]["name"]


def test_objaverse_s_meshes_are_rendered_with_depth(script, objaverse_cache, tools, tmp_path):
    pytest.importorskip("embreex")

    words = ["--source", "objaverse", "--in", str(objaverse_cache), "--out", str(tmp_path / "out"), "--size", "48"]
    (tmp_path / "uids.json").write_text('["aaa"]')
    words += ["--uids", str(tmp_path / "uids.json"), "--test-percent", "0", "--threads", "1"]
    script.main(parse_options(script.Arguments, words))
    (record,) = open_store(tmp_path / "out")
    assert record.caption == "race horse" and record.license == "CC-BY-NC-4.0"
    tools.check(record, 32)
    assert tools.landing_by_own_depth(record) >= 0.99
