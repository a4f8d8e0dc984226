from .config import (
    CameraAugmentation,
    DataConfig,
    ObjectViewLimits,
    SceneViewLimits,
    ViewChoice,
    with_fixed_conditions,
)
from .device import DeviceBatches, device_batches
from .even_views import even_sets, most_even_set
from .image_folder import ImageFolder
from .mixing import has_records
from .pipeline import TrainingBatches, training_batches
from .record_views import load_views
from .records import EncodedMap, Record, RecordSource, decode_record, encode_record
from .scene_frame import to_scene_frame
from .split import Split, geometry_hash, split_of
from .store import RecordStore, open_store
from .view_selection import ViewCounts, choose_views, scoring_views

__all__ = [
    "CameraAugmentation",
    "DataConfig",
    "DeviceBatches",
    "EncodedMap",
    "ImageFolder",
    "ObjectViewLimits",
    "Record",
    "RecordSource",
    "RecordStore",
    "SceneViewLimits",
    "Split",
    "TrainingBatches",
    "ViewChoice",
    "ViewCounts",
    "choose_views",
    "decode_record",
    "device_batches",
    "encode_record",
    "even_sets",
    "geometry_hash",
    "has_records",
    "load_views",
    "most_even_set",
    "open_store",
    "scoring_views",
    "split_of",
    "to_scene_frame",
    "training_batches",
    "with_fixed_conditions",
]
