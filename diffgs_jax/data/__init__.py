"""Datasets of posed views: record stores, the split, and the pipeline that makes training batches."""

from diffgs_jax.data.batch import Batch
from diffgs_jax.data.config import DataConfig
from diffgs_jax.data.pipeline import TrainingBatches, training_batches
from diffgs_jax.data.record_views import load_views
from diffgs_jax.data.records import EncodedMap, Record, decode_record, encode_record
from diffgs_jax.data.split import Split, geometry_hash, split_of
from diffgs_jax.data.store import RecordStore, open_store

__all__ = [
    "Batch",
    "DataConfig",
    "EncodedMap",
    "Record",
    "RecordStore",
    "Split",
    "TrainingBatches",
    "decode_record",
    "encode_record",
    "geometry_hash",
    "load_views",
    "open_store",
    "split_of",
    "training_batches",
]
