"""Datasets of posed views: record stores, the split, and the pipeline that makes training batches."""

from diffgs_jax.data.config import CameraAugmentation, DataConfig, ObjectViewLimits, SceneViewLimits
from diffgs_jax.data.device import DeviceBatches, device_batches
from diffgs_jax.data.pipeline import TrainingBatches, training_batches
from diffgs_jax.data.record_views import load_views
from diffgs_jax.data.records import EncodedMap, Record, decode_record, encode_record
from diffgs_jax.data.scene_frame import to_scene_frame
from diffgs_jax.data.split import Split, geometry_hash, split_of
from diffgs_jax.data.store import RecordStore, open_store
from diffgs_jax.data.view_selection import ViewCounts, choose_views
from diffgs_jax.models import Batch

__all__ = [
    "Batch",
    "CameraAugmentation",
    "DataConfig",
    "DeviceBatches",
    "EncodedMap",
    "ObjectViewLimits",
    "Record",
    "RecordStore",
    "SceneViewLimits",
    "Split",
    "TrainingBatches",
    "ViewCounts",
    "choose_views",
    "decode_record",
    "device_batches",
    "encode_record",
    "geometry_hash",
    "load_views",
    "open_store",
    "split_of",
    "to_scene_frame",
    "training_batches",
]
