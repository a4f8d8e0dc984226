"""Files and folders written whole or not at all, their hashes, and the folder for what is fetched or computed once."""

from diffgs_jax.files.atomic import write_bytes, write_json, write_text, written_beside
from diffgs_jax.files.cache import CACHE_VARIABLE, cache_folder
from diffgs_jax.files.folders import filled_folder, make_folder, new_folder, unfinished_folder
from diffgs_jax.files.hashing import arrays_sha256, file_sha256, json_sha256, model_sha256, text_sha256

__all__ = [
    "CACHE_VARIABLE",
    "arrays_sha256",
    "cache_folder",
    "file_sha256",
    "filled_folder",
    "json_sha256",
    "make_folder",
    "model_sha256",
    "new_folder",
    "text_sha256",
    "unfinished_folder",
    "write_bytes",
    "write_json",
    "write_text",
    "written_beside",
]
