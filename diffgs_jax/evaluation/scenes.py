"""Scenes as the published protocol reads them: the first context frame is shown, the target frames are asked for.

pixelSplat (Charatan et al. 2024) published which frames of each RealEstate10K scene are given and which are predicted;
DiffusionGS (Cai et al. 2025, section 4.1, and the code beside it) gives a model of a single view the first of the given
frames and denoises views at the target frames' cameras, which are then scored. Condition and denoised views together
decide the scene frame, as in training.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from diffgs_jax.data import RecordStore, load_views, to_scene_frame
from diffgs_jax.datasets import EvaluationViews
from diffgs_jax.errors import DataError
from diffgs_jax.evaluation.objects import PosedObject, load_depths, spread
from diffgs_jax.geometry import SCENE, Cameras


def load_scenes(
    store: RecordStore,
    index: Mapping[str, EvaluationViews],
    resolution: int,
    *,
    max_scenes: int | None = None,
    frame: Literal["first_view", "mean_camera"] = "first_view",
    extent: float = 1 / 1.35,
    background: float = 1.0,
    on_scene: Callable[[int], object] = lambda scenes: None,
) -> list[PosedObject]:
    """Reads the scenes that both the store and the index have, in the store's order.

    Args:
        store: one split of a dataset, its frames in the published order and number.
        index: of `data.sources.read_evaluation_index`.
        resolution: height and width that views are brought to, pixels.
        max_scenes: read this many, spread evenly over them; all by default.
        frame: the model's; see `data.to_scene_frame`.
        extent: the model's; see `data.to_scene_frame`.
        background: grey level in [0, 1] under transparent pixels.
        on_scene: called with 1 after every scene.

    Raises:
        DataError: if no scene is in both, or one is corrupt, is an object, lacks a frame of the index, or has another
            number of targets than the first.
    """
    known = [number for number, uid in enumerate(store.uids) if uid in index]
    if not known:
        raise DataError(f"none of the {len(store)} records of {store.path} ({store.split}) is in the evaluation index")
    scenes: list[PosedObject] = []
    for place in spread(len(known), max_scenes or len(known)):
        record = store[known[place]]
        views = index[record.uid]
        frames = [*views.context[:1], *views.target]
        if record.domain != "scene" or len(frames) < 2 or not all(0 <= one < len(record.images) for one in frames):
            raise DataError(
                f"record {record.uid} of {store.path} is a {record.domain} of {len(record.images)} views; the index "
                f"asks for the frames {frames} of a scene"
            )
        if scenes and len(frames) != len(scenes[0].images):
            raise DataError(f"{record.uid} has {len(frames) - 1} targets in the index; all scenes need equally many")
        poses, intrinsics = (np.asarray(array)[frames] for array in record.cameras)
        poses, scale = to_scene_frame(poses, len(frames), frame=frame, extent=extent)
        used = record._replace(images=[record.images[one] for one in frames])
        images, alphas, _ = load_views(used, resolution, background)
        depths = load_depths(record, resolution, frames)
        scenes.append(
            PosedObject(
                record.uid,
                images,
                alphas,
                Cameras(poses, intrinsics),
                condition=0,
                depths=None if depths is None else depths * np.float32(scale),
                denoised=Cameras(poses[1:], intrinsics[1:]),
                domain=SCENE,
            )
        )
        on_scene(1)
    return scenes
