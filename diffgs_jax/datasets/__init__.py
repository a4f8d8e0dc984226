"""Published datasets in their published layouts, read one record at a time and brought into our conventions."""

from diffgs_jax.datasets.diffsplat import read_diffsplat
from diffgs_jax.datasets.dl3dv import read_dl3dv
from diffgs_jax.datasets.gobjaverse import read_gobjaverse
from diffgs_jax.datasets.lazy_records import LazyRecord, LazyRecords
from diffgs_jax.datasets.mvimgnet import read_mvimgnet
from diffgs_jax.datasets.objaverse import download_objaverse, find_objaverse
from diffgs_jax.datasets.options import SourceOptions
from diffgs_jax.datasets.realestate10k import EvaluationViews, read_evaluation_index, read_realestate10k
from diffgs_jax.datasets.recognition import SourceName, open_source, recognise_source
from diffgs_jax.datasets.transforms_json import read_transforms

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
