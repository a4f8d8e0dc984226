"""The rooms in the repository, held against what must be true of them."""

import numpy as np

from diffgs_jax.data import load_views, open_store
from diffgs_jax.data.maps import decode_depth


def unprojected_depth_agrees(depth, other, cameras, view, after):
    """How many of one view's points, seen again by another one, are where its depth says or behind something."""
    size = len(depth)
    fx, fy, cx, cy = cameras.intrinsics[view].astype(float)
    place = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid((place - cx) / fx, (place - cy) / fy)
    pose, there = (cameras.camera_to_world[number].astype(float) for number in (view, after))
    points = (np.stack([x, y, np.ones_like(x)], -1) * depth[..., None]) @ pose[:3, :3].T + pose[:3, 3]
    seen = (points - there[:3, 3]) @ there[:3, :3]
    column, row = fx * seen[..., 0] / seen[..., 2] + cx, fy * seen[..., 1] / seen[..., 2] + cy
    inside = (seen[..., 2] > 0.1) & (column > 0) & (column < 1) & (row > 0) & (row < 1)
    assert inside.mean() > 0.3
    found = other[(row[inside] * size).astype(int), (column[inside] * size).astype(int)]
    return (found < seen[..., 2][inside] * 1.03 + 0.02).mean()


def test_the_rooms_in_the_repository(request):
    assets = request.config.rootpath / "assets"
    assert sum(file.stat().st_size for file in assets.rglob("*") if file.is_file()) <= 8e6
    folder = assets / "rooms_cc0"
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1.1e6
    train, test = open_store(folder, "train"), open_store(folder, "test")
    assert len(train) == 3 and len(test) == 2
    credits = (folder / "CREDITS.md").read_text()
    objects = {}
    for side, store in (("train", train), ("test", test)):
        for record in store:
            assert record.license == "CC0-1.0" and record.domain == "scene" and len(record.images) >= 24
            objects.setdefault(side, set()).update(record.source.split(", "))
    assert not objects["train"] & objects["test"]
    assert all(f"| {uid} |" in credits for uid in objects["train"] | objects["test"])
    # The side of the split that objects of the other dataset are on.
    furniture = assets / "furniture_cc0"
    for side in ("train", "test"):
        assert objects[side] <= set(open_store(furniture, side).uids)
    for record in [*list(test), *list(train)[::2]]:
        images, alphas, cameras = load_views(record, 128)
        assert alphas.min() == 1.0
        assert (images.mean(axis=(1, 2, 3)) > 0.25).all() and (images.max(-1) < 0.04).mean() < 0.1
        assert (images.std(axis=(1, 2)).mean(-1) > 0.02).all()  # never a blank wall
        steps = np.linalg.norm(np.diff(cameras.camera_to_world[:, :3, 3], axis=0), axis=1)
        assert steps.max() < 0.3 and steps.sum() > 0.9
        depth = decode_depth(record.maps["depth"])
        assert np.isfinite(depth).all() and depth.min() > 0.1
        assert unprojected_depth_agrees(depth[0], depth[4], cameras, 0, 4) > 0.9
