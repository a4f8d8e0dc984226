"""Files written whole or not at all, their hashes, a folder for what is fetched; foreign files opened within limits."""

from diffgs_jax.files.archives import gunzip, open_tar, open_zip, read_member, read_tar_member, tar_members
from diffgs_jax.files.atomic import write_bytes, write_json, write_text, written_beside
from diffgs_jax.files.cache import CACHE_VARIABLE, cache_folder
from diffgs_jax.files.folders import filled_folder, make_folder, new_folder, unfinished_folder
from diffgs_jax.files.hashing import arrays_sha256, file_sha256, json_sha256, model_sha256, text_sha256
from diffgs_jax.files.json_text import json_list, json_object, load_json, parse_json
from diffgs_jax.files.opening import checked_path, one_line, open_regular, read_regular, read_within, shown, shown_size

__all__ = [
    "CACHE_VARIABLE",
    "arrays_sha256",
    "cache_folder",
    "checked_path",
    "file_sha256",
    "filled_folder",
    "gunzip",
    "json_list",
    "json_object",
    "json_sha256",
    "load_json",
    "make_folder",
    "model_sha256",
    "new_folder",
    "one_line",
    "open_regular",
    "open_tar",
    "open_zip",
    "parse_json",
    "read_member",
    "read_regular",
    "read_tar_member",
    "read_within",
    "shown",
    "shown_size",
    "tar_members",
    "text_sha256",
    "unfinished_folder",
    "write_bytes",
    "write_json",
    "write_text",
    "written_beside",
]
