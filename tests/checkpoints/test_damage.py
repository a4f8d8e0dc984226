"""One bit that flips anywhere in a checkpoint is noticed, or changes nothing."""

import os
import pathlib
import random
import shutil
from collections.abc import Iterator

import jax
import numpy as np
import pytest
from trees import METADATA, PARTS, assert_equal, on_device, save

from diffgs_jax.checkpoints import load_weights, read_metadata, restore_checkpoint
from diffgs_jax.errors import DataError

WEIGHTS = jax.tree.map(lambda leaf: leaf.astype(np.float32), PARTS["ema"])
LIKE = on_device(PARTS)


@pytest.fixture
def checkpoint(tmp_path):
    save(tmp_path / "run", 3)
    return tmp_path / "run" / "3"


def files(checkpoint: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in checkpoint.rglob("*") if path.is_file())


def is_refused(read) -> bool:
    """Tells whether a reader refuses, in one line; what it returns must be what was saved."""
    try:
        read()
    except DataError as error:
        assert "\n" not in str(error) and "damaged" in str(error)
        return True
    return False


def outcome(run: pathlib.Path) -> tuple[bool, bool, bool]:
    """Tells which of the three readers refuse."""

    def whole():
        parts, metadata = restore_checkpoint(run, LIKE)
        assert_equal(parts, PARTS)
        assert metadata == METADATA

    def weights():
        assert_equal(load_weights(run, LIKE["ema"]), WEIGHTS)

    def metadata():
        assert read_metadata(run) == METADATA

    return is_refused(whole), is_refused(weights), is_refused(metadata)


def flip(path: pathlib.Path, place: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1 << bit]))


def flips(checkpoint: pathlib.Path, count: int, seed: int) -> Iterator[tuple[pathlib.Path, int, int]]:
    """Yields bits of all files, as many of each."""
    chance = random.Random(seed)
    paths = files(checkpoint)
    for number in range(count):
        path = paths[number % len(paths)]
        yield path, chance.randrange(path.stat().st_size), chance.randrange(8)


def check_flips(checkpoint, bits) -> int:
    run, count = checkpoint.parent, 0
    for path, place, bit in bits:
        flip(path, place, bit)
        whole, weights, metadata = outcome(run)
        part = path.relative_to(checkpoint).parts[0]
        assert whole, f"bit {bit} of byte {place} of {path}"
        assert weights or part in ("state", "SHA256SUMS")  # the hash of a file that is not read may be wrong
        assert metadata or part != "_CHECKPOINT_METADATA"
        flip(path, place, bit)
        count += 1
    assert outcome(run) == (False, False, False)
    return count


def test_a_flipped_bit_is_noticed(checkpoint):
    assert check_flips(checkpoint, flips(checkpoint, 60, 0)) == 60


@pytest.mark.long
def test_thousands_of_flipped_bits_are_noticed(checkpoint):
    assert check_flips(checkpoint, flips(checkpoint, 2000, 1)) == 2000


@pytest.mark.long
def test_every_byte_of_the_metadata_and_of_the_digests_counts(checkpoint):
    chance = random.Random(2)
    for path in files(checkpoint):
        if path.name in ("_CHECKPOINT_METADATA", "_METADATA", "SHA256SUMS"):
            bits = [(path, place, chance.randrange(8)) for place in range(path.stat().st_size)]
            assert check_flips(checkpoint, bits) == path.stat().st_size


def test_files_that_are_missing_added_cut_or_no_files_are_noticed(checkpoint):
    for path in files(checkpoint):
        saved, part = path.read_bytes(), path.relative_to(checkpoint).parts[0]
        for damage in ("missing", "empty", "cut", "folder", "pipe"):
            path.unlink()
            if damage == "folder":
                path.mkdir()
            elif damage == "pipe":
                os.mkfifo(path)
            elif damage != "missing":
                path.write_bytes(saved[: -1 if damage == "cut" else 0])
            whole, weights, _ = outcome(checkpoint.parent)
            # Without a list nothing can be compared, which is said; its last newline means nothing.
            assert whole or (part == "SHA256SUMS" and damage in ("missing", "cut"))
            assert weights or part in ("state", "SHA256SUMS")
            path.rmdir() if damage == "folder" else path.unlink(missing_ok=True)
            path.write_bytes(saved)
    (checkpoint / "ema" / ".DS_Store").write_text("what desktops leave")
    assert outcome(checkpoint.parent) == (False, False, False)
    (checkpoint / "ema" / "array_metadatas" / "process_1").write_text("{}")
    assert outcome(checkpoint.parent) == (True, True, False)


def test_weights_load_where_the_state_was_left_out(checkpoint):
    """Somebody who passes on the folder without the optimizer breaks nothing that is read."""
    shutil.rmtree(checkpoint / "state")
    assert outcome(checkpoint.parent)[:2] == (True, False)


@pytest.mark.parametrize("text", ["", "\n", "words\n", f"{'0' * 63}  a\n", f"{'0' * 64} *a\n", "\0" * 10, "é" * 9])
def test_a_list_that_is_none_is_refused(checkpoint, text):
    (checkpoint / "SHA256SUMS").write_text(text)
    assert outcome(checkpoint.parent) == (True, True, True)
    with pytest.raises(DataError, match="SHA256SUMS is not a list of digests"):
        read_metadata(checkpoint.parent)
