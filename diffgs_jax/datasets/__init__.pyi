from .diffsplat import read_diffsplat
from .diffsplat_rows import diffsplat_row, encoded_row, write_diffsplat
from .dl3dv import read_dl3dv
from .gobjaverse import read_gobjaverse
from .joining import JoinedRecords, read_captions, read_index_names
from .lazy_records import LazyRecord, LazyRecords
from .mvimgnet import read_mvimgnet
from .objaverse import download_objaverse, find_objaverse
from .options import SourceName, SourceOptions
from .realestate10k import EvaluationViews, read_evaluation_index, read_realestate10k
from .recognition import open_source, recognise_source
from .stores import read_store
from .transforms_json import read_frames, read_transforms

__all__ = [
    "EvaluationViews",
    "JoinedRecords",
    "LazyRecord",
    "LazyRecords",
    "SourceName",
    "SourceOptions",
    "diffsplat_row",
    "download_objaverse",
    "encoded_row",
    "find_objaverse",
    "open_source",
    "read_captions",
    "read_diffsplat",
    "read_dl3dv",
    "read_evaluation_index",
    "read_gobjaverse",
    "read_index_names",
    "read_mvimgnet",
    "read_realestate10k",
    "read_store",
    "read_frames",
    "read_transforms",
    "recognise_source",
    "write_diffsplat",
]
