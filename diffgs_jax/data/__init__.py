"""Datasets of posed views: record stores, the split, and the pipeline that makes training batches."""

from diffgs_jax.data.batch import Batch
from diffgs_jax.data.config import DataConfig

__all__ = ["Batch", "DataConfig"]
