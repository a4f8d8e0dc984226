"""What the training data is and how it is read."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class ObjectViewLimits:
    """Which views of an object make a training sample (DiffusionGS, scene-object mixed training, eq. 9 and 10).

    180 allows everything. With several condition views, it is enough that one of them allows a view.
    """

    noisy_position: float = 180.0
    """θ₁: largest angle at the object's centre between the positions of a noisy and a condition view, degrees."""
    novel_position: float = 180.0
    """θ₂: largest angle at the object's centre between the positions of every novel and every noisy view, degrees."""
    noisy_direction: float = 180.0
    """φ₁: largest angle between the viewing directions of a noisy and a condition view, degrees."""
    novel_direction: float = 180.0
    """φ₂: largest angle between the viewing directions of a novel and a condition view, degrees."""


@dataclasses.dataclass(frozen=True)
class SceneViewLimits:
    """Which frames of a scene's video make a training sample.

    A scene has no centre that angles between positions could be measured at, so frame numbers say how far the camera
    walked. None and 180 allow everything.
    """

    noisy_direction: float = 180.0
    """φ₁: largest angle between the viewing directions of a noisy and a condition view, degrees."""
    novel_direction: float = 180.0
    """φ₂: largest angle between the viewing directions of a novel and a condition view, degrees."""
    noisy_frames: tuple[int, int] | None = None
    """Least and most frames between a noisy and a condition view."""
    novel_frames: tuple[int, int] | None = None
    """Least and most frames between a novel and a condition view."""


@dataclasses.dataclass(frozen=True)
class ViewChoice:
    """How the views of a sample are chosen among those of its record."""

    kind: Literal["limited", "random", "even", "fixed_view", "random_view"] = "limited"
    """`limited`: at random within `object_limits` and `scene_limits`. `random`: at random whatever the limits say.
    `even`: the input views of an object at equal steps of azimuth around a ring of views, beginning at any of them, and
    the novel views at random among the others; scenes have no rings, theirs are `limited`. For models
    that learn from single views, whose samples have one view in all: `fixed_view`, one view of a record for ever,
    whatever the seed, as if there were no others; `random_view`, any one of its views, drawn anew each time."""
    novel: Literal["others", "off_ring"] = "others"
    """With `even`: the novel views are any `others`, or such as belong to no ring (`off_ring`), at random elevations if
    the store has them; where there are not enough of those, any others."""
    steepest: float = 75.0
    """With `even`: views from a higher or lower elevation than this belong to no ring, degrees."""


@dataclasses.dataclass(frozen=True)
class CameraAugmentation:
    """Random changes of image and camera together, so that geometry still fits; all are off by default.

    With `roll` or `crop`, views are decoded and kept at their stored size, since they are resampled at every use.
    """

    flip: float = 0.0
    """Probability that a sample is seen in a mirror: all its images, cameras and the world."""
    roll: float = 0.0
    """Largest turn of each camera about its optical axis, degrees; objects only: a scene has no images of what
    comes into the corners."""
    crop: float = 1.0
    """Smallest side of a random square window that is cut out of each image, as a fraction of the image's."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which views are read, and how many of them make a training sample."""

    path: str = "assets/furniture_cc0"
    """Folder of a record store: `index.json` beside `*.arrayrecord` shards. Or a folder of PNG, JPEG or WebP images,
    each of which is a record of one view without a pose (`image_folder.py`), for models of images."""
    sources: tuple[tuple[str, float], ...] = ()
    """Several record stores instead of `path`, objects and scenes, each with its share of the samples, for example
    `--data.sources assets/furniture_cc0 3 data/rooms 1`. Shares need not sum to 1; every batch follows them closely."""
    resolution: int = 64
    """Height and width of the square training views, pixels; stored views are resized by area."""
    batch_size: int = 8
    """Samples in a batch, over all hosts."""
    condition_views: int = 1
    """Clean views in a sample; the first one has azimuth 0."""
    noisy_views: int = 3
    """Views that are denoised, in a sample."""
    fewest_condition_views: int | None = None
    """With it, a sample has any number of clean views from this to `condition_views`, drawn for each; those that it
    lacks are denoised instead. The first view has azimuth 0, clean or not."""
    novel_views: int = 2
    """Views that only supervise: renderings are compared with them, the network never sees them."""
    view_choice: ViewChoice = ViewChoice()
    """How views are chosen."""
    choices: int = 0
    """In how many ways the views of a record are chosen, each drawn once for all steps; 0 chooses anew at every use."""
    latents: str = ""
    """Folder of latents that were computed before (`scripts/diffsplat/precompute_latents.py`), for models that learn
    latents. They are of as many `choices`, of the same data and settings."""
    object_limits: ObjectViewLimits = ObjectViewLimits()
    """Which views of an object are combined."""
    scene_limits: SceneViewLimits = SceneViewLimits()
    """Which frames of a scene are combined."""
    object_frame: Literal["first_view", "record"] = "first_view"
    """Axes of an object: turned so that its first view has azimuth 0, or those that the record was stored in, for
    models whose objects all face one way."""
    scene_frame: Literal["first_view", "mean_camera"] = "first_view"
    """Origin and axes of a scene: those of the first condition camera, so that an image without a pose has a place, or
    those of the mean of the cameras, as the published scene model was trained."""
    scene_extent: float = 1 / 1.35
    """Scenes are scaled so that this is the largest coordinate of their condition and noisy cameras (as published)."""
    labels: tuple[str, ...] = ()
    """Names of the classes, for models that learn them: a record belongs to the first whose name its caption contains
    (whole words, in any case), so name "bedside table" before "table". Without a caption its name is looked at; a
    record of none has the label −1."""
    background: float = 1.0
    """Grey level in [0, 1] that transparent pixels are composited on."""
    random_background: float = 0.0
    """Probability that an object comes on one random colour instead, the same in all its views."""
    augmentation: CameraAugmentation = CameraAugmentation()
    """Random changes of image and camera together."""
    seed: int = 0
    """Data order and choice of views are a pure function of (seed, step)."""
    cache_gigabytes: float = 1.0
    """Memory for views that were already decoded, kept as uint8 at `resolution`; 0 decodes again at every use.
    It never changes what a batch holds. 820 objects of 32 views at 64² take 0.43."""
    threads: int = 2
    """Threads that read and decode ahead of the training step."""
    prefetch: int = 4
    """Batches that are kept ready ahead of the training step."""
    max_bad_records: int = 16
    """Unreadable records that are replaced by others before the run stops."""


def with_fixed_conditions(config: DataConfig) -> DataConfig:
    """Returns settings with equally many condition views in every sample: one, or as near to that as they allow."""
    if config.fewest_condition_views is None:
        return config
    inputs = config.condition_views + config.noisy_views
    count = max(config.fewest_condition_views, min(1, config.condition_views))
    return dataclasses.replace(config, condition_views=count, noisy_views=inputs - count, fewest_condition_views=None)
