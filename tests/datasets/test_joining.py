"""Captions and lists of names as Cap3D, G-Objaverse and DiffSplat publish them, joined to records of any spelling."""

import importlib.util
import json
import pathlib
import sys

import pytest
from numbered_records import numbered_record

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import encode_record, open_store
from diffgs_jax.data.store import write_store
from diffgs_jax.datasets import JoinedRecords, LazyRecord, read_captions, read_index_names
from diffgs_jax.datasets.joining import names_of
from diffgs_jax.errors import DataError, UserError

HEX = "ed51a51909ee46c780db3a85e821feb2"


@pytest.mark.parametrize("header", ["", "uid,caption\n"])
def test_captions_of_cap3d(tmp_path, header):
    lines = f'{HEX},"A green car, with ""wings""."\nffff,a plain one, unquoted\nempty,\n'
    (tmp_path / "cap.csv").write_text(header + lines, encoding="utf-8-sig")
    found = read_captions(tmp_path / "cap.csv")
    assert found == {HEX: 'A green car, with "wings".', "ffff": "a plain one, unquoted"}
    (tmp_path / "cap.json").write_text(json.dumps({HEX: " a car ", "other": 3}))
    assert read_captions(tmp_path / "cap.json") == {HEX: "a car"}


def test_files_that_are_no_captions_are_one_line(tmp_path):
    (tmp_path / "empty.csv").write_text("only one field\n")
    with pytest.raises(DataError, match="holds no captions"):
        read_captions(tmp_path / "empty.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="no CSV"):
        read_captions(tmp_path / "binary.csv")
    with pytest.raises(UserError, match="nowhere"):
        read_captions(tmp_path / "nowhere.csv")
    (tmp_path / "index.json").write_text('{"0/1": ["x"]}')
    with pytest.raises(DataError, match="something else than a name"):
        read_index_names(tmp_path / "index.json")


def test_a_record_is_found_under_each_of_its_names():
    index = {"0/10010": f"000-000/{HEX}.glb"}
    assert names_of("0/10010", index) == ["0/10010", "10010", f"000-000/{HEX}.glb", HEX]
    assert names_of(f"objaverse/000-000/{HEX}.tar", {}) == [f"objaverse/000-000/{HEX}.tar", HEX]
    read = []

    def item(uid):
        return LazyRecord(uid, "here", lambda: (read.append(uid), numbered_record(0)._replace(uid=uid))[1], "test")

    items = [item("0/10010"), item("0/10011"), item(f"a/{HEX}.tar"), item("plain")]
    joined = JoinedRecords(
        items, captions={HEX: "a car", "plain": "a thing"}, wanted=[HEX, "plain", "lost"], index=index
    )
    records = [one.load() for one in joined]
    assert [(one.uid, one.caption) for one in records] == [
        ("0/10010", "a car"),
        (f"a/{HEX}.tar", "a car"),
        ("plain", "a thing"),
    ]
    assert "0/10011" not in read and joined.captioned == 3 and joined.found == {HEX, "plain"}
    kept = JoinedRecords([item("0/7")._replace(read=lambda: numbered_record(1)._replace(caption="own"))], captions={})
    assert [one.load().caption for one in kept] == ["own"] and kept.captioned == 0


def test_the_converter_joins_and_says_how_many(tmp_path, capsys):
    where = pathlib.Path(__file__).parents[2] / "scripts" / "convert_dataset.py"
    spec = importlib.util.spec_from_file_location("convert_dataset_joined", where)
    script = importlib.util.module_from_spec(spec)
    sys.modules["convert_dataset_joined"] = script
    spec.loader.exec_module(script)
    records = [numbered_record(number) for number in range(4)]
    encoded = [(record.uid, lambda record=record: encode_record(record)) for record in records]
    write_store(tmp_path / "in", {"train": encoded, "test": []}, {})
    (tmp_path / "cap.csv").write_text("001,the first\nthing/002,the second\n")
    (tmp_path / "uids.txt").write_text("thing/001\nthing/003\n999\n")
    given = ["--in", "in", "--out", "out", "--captions", "cap.csv", "--uids", "uids.txt"]
    given = [str(tmp_path / one) if not one.startswith("-") else one for one in given]
    script.main(parse_options(script.Arguments, given))
    told = capsys.readouterr().out
    assert "1 records have captions" in told and "2 of the 3 names" in told and "2 training and 0 test" in told
    assert {one.uid: one.caption for one in open_store(tmp_path / "out")} == {
        "thing/001": "the first",
        "thing/003": records[3].caption,
    }
