"""A set of views as one picture: side by side, each with its azimuth written under it."""

import math
import os

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from diffgs_jax.files.atomic import written_beside
from diffgs_jax.geometry import Views

_TILE = 192  # least side of a view on the sheet, pixels
_GAP, _LABEL = 6, 22


def write_contact_sheet(path: str | os.PathLike[str], views: Views) -> None:
    """Writes the views of one sample as a PNG, condition views first, the others in their order.

    Small views are enlarged a whole number of times without smoothing, so that their pixels can be seen.

    Args:
        path: the file.
        views: `[1, v]`.

    Raises:
        UserError: if the file cannot be written.
    """
    images = np.asarray(views.images)[0]
    given = np.asarray(views.is_condition)[0]
    centers = np.asarray(views.cameras.camera_to_world)[0, :, :3, 3]
    zoom = max(1, math.ceil(_TILE / max(images.shape[1:3])))
    height, width = images.shape[1] * zoom, images.shape[2] * zoom
    sheet = Image.new("RGB", (len(images) * (width + _GAP) + _GAP, height + 2 * _GAP + _LABEL), color=(236, 236, 236))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for place, index in enumerate(np.argsort(~given, kind="stable")):
        left = _GAP + place * (width + _GAP)
        pixels = np.round(np.clip(images[index], 0, 1) * 255).astype(np.uint8)
        tile = Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(tile, (left, _GAP))
        azimuth = round(math.degrees(math.atan2(centers[index, 1], centers[index, 0]))) % 360
        label = f"{'given' if given[index] else 'predicted'}, {azimuth}°"
        draw.text((left + width // 2, height + 2 * _GAP + _LABEL // 2 - 3), label, (40, 40, 40), font, anchor="mm")
    with written_beside(path) as beside:
        sheet.save(beside)
