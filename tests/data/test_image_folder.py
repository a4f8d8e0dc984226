"""Folders of images written by Pillow: what is read, which side of the split it is on, and what is refused."""

import dataclasses
import hashlib
import io
import shutil

import numpy as np
import pytest
from PIL import Image

from diffgs_jax.data import DataConfig, ImageFolder, split_of, training_batches
from diffgs_jax.errors import DataError, UserError
from diffgs_jax.models import Requirements


def smooth(height, width, seed, bands=3):
    """An image of soft colours, so that JPEG and resizing hardly change it."""
    small = np.random.default_rng(seed).integers(0, 256, (3, 3, bands), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "images"
    (path / "coffee_cup").mkdir(parents=True)
    for number in range(40):
        smooth(12, 12, number).save(path / f"{number:02d}.png")
    smooth(16, 16, 100).save(path / "coffee_cup" / "a.JPG", quality=98)
    smooth(16, 24, 101, bands=4).save(path / "coffee_cup" / "b.webp", lossless=True, exact=True)
    (path / "notes.txt").write_text("no image")
    return path


def settings(path, **changes):
    one_view = {"condition_views": 0, "noisy_views": 1, "novel_views": 0}
    config = DataConfig(path=str(path), resolution=12, batch_size=4, threads=1, **one_view)
    return dataclasses.replace(config, **changes)


def everything(path):
    """All the records of both sides, by name."""
    found = {}
    for split in ("train", "test"):
        images = ImageFolder(path, split)
        found |= {images.uids[index]: images[index] for index in range(len(images))}
    return found


def test_the_split_is_by_content(folder, tmp_path):
    train, test = ImageFolder(folder, "train"), ImageFolder(folder, "test")
    assert not set(train.uids) & set(test.uids) and len(train) + len(test) == 42 and 1 <= len(test) <= 12
    for uid in train.uids:
        assert split_of(hashlib.sha256((folder / uid).read_bytes()).hexdigest()[:16]) == "train"
    shutil.copy(folder / test.uids[0], folder / "a copy.png")
    assert "a copy.png" in ImageFolder(folder, "test").uids
    with pytest.raises(UserError, match="none of the 1 images in .* is on the test side"):
        (tmp_path / "one").mkdir()
        shutil.copy(folder / train.uids[0], tmp_path / "one")
        ImageFolder(tmp_path / "one", "test")


def test_images_are_cut_to_the_middle_square_and_turned_upright(folder):
    wide = smooth(20, 32, 7)
    wide.save(folder / "wide.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: a quarter turn clockwise stands it up
    wide.rotate(90, expand=True).save(folder / "phone.jpg", quality=100, subsampling=0, exif=exif)
    expected = np.asarray(wide)[:, 6:26]
    records = everything(folder)
    assert len(records) == 44
    for name, tolerance in (("wide.png", 0), ("phone.jpg", 6)):
        found = np.asarray(Image.open(io.BytesIO(records[name].images[0])), int)
        assert found.shape == (20, 20, 3) and np.abs(found - expected).max() <= tolerance
    cut = np.asarray(Image.open(io.BytesIO(records["coffee_cup/b.webp"].images[0])))
    np.testing.assert_array_equal(cut, np.asarray(smooth(16, 24, 101, bands=4))[:, 4:20])
    assert records["03.png"].images == [(folder / "03.png").read_bytes()]


def test_records_have_one_view_by_the_identity(folder):
    records = everything(folder)
    for record in records.values():
        assert record.domain == "object" and len(record.images) == 1
        np.testing.assert_array_equal(record.cameras.camera_to_world, np.eye(4)[None])
        np.testing.assert_array_equal(record.cameras.intrinsics, [[1.0, 1.0, 0.5, 0.5]])
    assert records["coffee_cup/a.JPG"].caption == "coffee cup" and records["00.png"].caption is None


def test_batches_hold_every_image_once_an_epoch(folder):
    images = ImageFolder(folder, "train")
    config = settings(folder, batch_size=1, labels=("coffee cup",))
    batches = training_batches(config, requirements=Requirements(makes="images", labels=True))
    seen = []
    for _ in range(len(images)):
        batch = next(batches)
        name = images.uids[int(batch.record[0])]
        seen.append(name)
        assert batch.inputs.images.shape == (1, 1, 12, 12, 3) and batch.targets is None
        assert batch.labels.tolist() == [0 if name.startswith("coffee_cup") else -1]
        if name.endswith(".png"):
            np.testing.assert_allclose(batch.inputs.images[0, 0] * 255, Image.open(folder / name), atol=1e-4)
    assert sorted(seen) == images.uids
    batches.close()


def test_a_run_goes_on_with_the_same_images_only(folder):
    state = training_batches(settings(folder)).get_state()
    training_batches(settings(folder)).set_state(state)
    for name in ImageFolder(folder, "train").uids[:2]:
        (folder / name).unlink()
    with pytest.raises(UserError, match="records .* →"):
        training_batches(settings(folder)).set_state(state)


def test_several_views_a_sample_are_refused(folder):
    for changes in ({"noisy_views": 2}, {"condition_views": 1}, {"novel_views": 1}):
        with pytest.raises(
            UserError, match="is a folder of images, each a single view, but a sample has several"
        ) as error:
            training_batches(settings(folder, **changes))
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="folder of images"):
        training_batches(settings("", sources=((str(folder), 1.0),), noisy_views=3), split="test")


def test_images_and_record_stores_mix(folder, numbered_store):
    config = settings("", sources=((str(folder), 1.0), (str(numbered_store()), 1.0)))
    batch = next(training_batches(config))
    images = len(ImageFolder(folder, "train"))
    assert (batch.record < images).sum() == 2
    assert next(training_batches(config, split="test")).inputs.images.shape == (4, 1, 12, 12, 3)


def test_damaged_images_are_named_and_replaced(folder, caplog):
    bad = [folder / name for name in ImageFolder(folder, "train").uids[:2]]
    bad[0].write_bytes(b"no image")
    bad[1].write_bytes(bad[1].read_bytes()[:60])
    sides = {name: split for split in ("train", "test") for name in ImageFolder(folder, split).uids}
    lost = [path.name for path in bad if sides[path.name] == "train"]
    batches = training_batches(settings(folder, cache_gigabytes=0.0))
    for _ in range(12):
        next(batches)
    assert batches.bad_records == lost and lost
    for name in lost:
        assert len([line for line in caplog.messages if f"{name}" in line]) == 1


def test_a_folder_without_images_is_no_dataset(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match="has no index.json"):
        training_batches(settings(tmp_path))
    with pytest.raises(UserError, match="holds no PNG, JPEG or WebP images"):
        ImageFolder(tmp_path)
    with pytest.raises(UserError, match="no dataset folder"):
        training_batches(settings(tmp_path / "nowhere"))
