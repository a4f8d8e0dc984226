"""Published datasets in their published layouts, read one record at a time and brought into our conventions."""

from diffgs_jax.data.sources.diffsplat import read_diffsplat
from diffgs_jax.data.sources.dl3dv import read_dl3dv
from diffgs_jax.data.sources.gobjaverse import read_gobjaverse
from diffgs_jax.data.sources.lazy_records import LazyRecord, LazyRecords
from diffgs_jax.data.sources.mvimgnet import read_mvimgnet
from diffgs_jax.data.sources.objaverse import download_objaverse, find_objaverse
from diffgs_jax.data.sources.options import SourceOptions
from diffgs_jax.data.sources.realestate10k import EvaluationViews, read_evaluation_index, read_realestate10k
from diffgs_jax.data.sources.recognition import SourceName, open_source, recognise_source
from diffgs_jax.data.sources.transforms_json import read_transforms

__all__ = [
    "EvaluationViews",
    "LazyRecord",
    "LazyRecords",
    "SourceName",
    "SourceOptions",
    "download_objaverse",
    "find_objaverse",
    "open_source",
    "read_diffsplat",
    "read_dl3dv",
    "read_evaluation_index",
    "read_gobjaverse",
    "read_mvimgnet",
    "read_realestate10k",
    "read_transforms",
    "recognise_source",
]
