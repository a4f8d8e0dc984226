"""Several uploaded files become the posed pictures that a `transforms.json` lists."""

import json
import pathlib
import shutil
from collections.abc import Sequence

from diffgs_jax.errors import DataError
from diffgs_jax.files import json_object, load_json

_MOST_FILES = 200


def posed_pictures(uploads: Sequence[str], folder: pathlib.Path) -> pathlib.Path:
    """Puts uploads into one folder, where the JSON among them finds its pictures by their names alone.

    Args:
        uploads: paths of the files, each wherever it was put; their names are those of the visitor.
        folder: to put them into.

    Returns:
        The JSON.

    Raises:
        DataError: if there is not exactly one JSON, it is none of posed pictures, or there are too many files.
    """
    files = [pathlib.Path(upload) for upload in uploads]
    listings = [file for file in files if file.suffix.lower() == ".json"]
    if len(listings) != 1 or len(files) > _MOST_FILES:
        raise DataError(f"give one transforms.json and the pictures that it lists, at most {_MOST_FILES} files")
    content = json_object(load_json(listings[0], unreadable=DataError), "transforms.json")
    frames = content.get("frames")
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise DataError("transforms.json lists no frames")
    for frame in frames:
        for name in ("file_path", "mask_path", "depth_file_path"):
            if isinstance(frame.get(name), str):
                frame[name] = pathlib.PurePosixPath(frame[name].replace("\\", "/")).name
    for file in files:
        if file is not listings[0]:
            shutil.copyfile(file, folder / file.name)
    path = folder / "transforms.json"
    path.write_text(json.dumps(content))
    return path
