"""Some of a dataset's pictures as one PNG, for looking at."""

import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from diffgs_jax.data.record_views import decode_views
from diffgs_jax.data.records import Record
from diffgs_jax.data.store import open_store, read_index
from diffgs_jax.files import written_beside

_GAP, _LABEL = 2, 14


def write_store_sheet(
    store: pathlib.Path, file: pathlib.Path, *, rows: int = 12, views: int = 8, tile: int = 96
) -> None:
    """Writes a picture of a dataset: a row for a record, named above it, of train and test records evenly.

    Args:
        store: folder of the dataset.
        file: the PNG to write.
        rows: how many records at most.
        views: how many views of each, evenly over all it has.
        tile: height and width of a view on the sheet, pixels.

    Raises:
        DataError: if a picture cannot be decoded.
    """
    sides = [split for split, part in read_index(store)["splits"].items() if part["uids"]]
    chosen: list[tuple[str, Record]] = []
    for side in sides:
        records = open_store(store, "train" if side == "train" else "test")
        count = min(len(records), max(1, rows // len(sides)))
        chosen += [(side, records[int(index)]) for index in np.linspace(0, len(records) - 1, count)]
    sheet = Image.new(
        "RGB", (views * (tile + _GAP) + _GAP, len(chosen) * (tile + _LABEL + _GAP) + _GAP), (255, 255, 255)
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for row, (side, record) in enumerate(chosen):
        top = _GAP + row * (tile + _LABEL + _GAP)
        words = f"{record.uid} ({side}) {record.caption or record.name}"
        draw.text((_GAP, top), words.encode("latin-1", "replace").decode("latin-1"), (40, 40, 40), font)
        selection = np.linspace(0, len(record.images) - 1, min(views, len(record.images))).round().astype(int)
        for place, image in enumerate(decode_views(record, tile, selection.tolist())):
            # Premultiplied, so on white by adding what is transparent.
            on_white = image[..., :3] + (255 - image[..., 3:])
            sheet.paste(Image.fromarray(on_white), (_GAP + place * (tile + _GAP), top + _LABEL))
    with written_beside(file) as beside:
        sheet.save(beside)
