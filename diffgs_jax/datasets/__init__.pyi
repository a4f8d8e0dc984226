from .diffsplat import read_diffsplat
from .dl3dv import read_dl3dv
from .gobjaverse import read_gobjaverse
from .lazy_records import LazyRecord, LazyRecords
from .mvimgnet import read_mvimgnet
from .objaverse import download_objaverse, find_objaverse
from .options import SourceOptions
from .realestate10k import EvaluationViews, read_evaluation_index, read_realestate10k
from .recognition import SourceName, open_source, recognise_source
from .transforms_json import read_transforms

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
