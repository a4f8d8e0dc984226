"""The views in the repository, held against what must be true of them."""

import numpy as np
import pytest

from diffgs_jax.data import load_views, open_store, split_of


@pytest.fixture(scope="module")
def folder(request):
    return request.config.rootpath / "assets" / "furniture_cc0"


def test_size_counts_and_credits(folder):
    assert sum(file.stat().st_size for file in folder.iterdir()) < 8e6
    train, test = open_store(folder, "train"), open_store(folder, "test")
    assert len(train) + len(test) >= 150 and len(test) >= 15
    assert not set(train.uids) & set(test.uids)
    text = (folder / "CREDITS.md").read_text()
    for store in (train, test):
        for record in store:
            assert record.license == "CC0-1.0" and record.name and record.domain == "object"
            assert f"| {record.uid} | {record.name} | {record.creator} |" in text
            assert len(record.images) == 32


def test_every_view_can_be_decoded_and_shows_an_object_within_its_frame(folder):
    for record in list(open_store(folder, "test"))[::3] + list(open_store(folder, "train"))[::15]:
        images, alphas, cameras = load_views(record, 128)
        assert images.shape == (32, 128, 128, 3) and images.min() >= 0 and images.max() <= 1
        assert (alphas.max(axis=(1, 2)) > 0.1).all()
        # A sphere of radius 1 fits into the picture, so nothing is cut off.
        assert alphas[:, [0, -1]].max() == 0 and alphas[:, :, [0, -1]].max() == 0
        np.testing.assert_allclose(images[alphas == 0], 1.0)
        np.testing.assert_allclose(np.linalg.norm(cameras.camera_to_world[:, :3, 3], axis=1), 2.7, rtol=1e-5)
        np.testing.assert_allclose(np.linalg.det(cameras.camera_to_world[:, :3, :3]), 1.0, rtol=1e-5)


@pytest.mark.parametrize("uid", ["BlendSwap-CC-0/crate", "BlendSwap-CC-0/sofa2", "BlendSwap-CC-0/motorbike"])
def test_outlines_agree_about_one_shape(folder, uid):
    """Carving space with every outline leaves a body that fills them all again: pictures and cameras agree."""
    store = open_store(folder, "test")
    _, alphas, cameras = load_views(store[store.uids.index(uid)], 64)
    line = np.linspace(-1, 1, 65)
    points = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    inside, pixels = np.ones(len(points), bool), []
    for alpha, pose, (fx, fy, cx, cy) in zip(alphas, *cameras, strict=True):
        local = (points - pose[:3, 3]) @ pose[:3, :3]
        column = np.clip((fx * local[:, 0] / local[:, 2] + cx) * 64, 0, 63).astype(int)
        row = np.clip((fy * local[:, 1] / local[:, 2] + cy) * 64, 0, 63).astype(int)
        inside &= alpha[row, column] > 0.02
        pixels.append((row, column))
    body = points[inside]
    np.testing.assert_allclose((body.max(0) + body.min(0)) / 2, 0.0, atol=0.12)
    assert 0.85 < np.linalg.norm(body, axis=1).max() < 1.15
    for alpha, (row, column) in zip(alphas, pixels, strict=True):
        outline = np.zeros((64, 64), bool)
        outline[row[inside], column[inside]] = True
        assert (outline & (alpha > 0.5)).sum() / (outline | (alpha > 0.5)).sum() > 0.8


def test_the_split_is_the_rule_s():
    """The rule itself must not change: models have been trained on one side of it."""
    sides = [split_of(f"{number:016x}") for number in range(40)]
    assert [number for number, side in enumerate(sides) if side == "test"] == [15, 36]
