"""Records whose images tell which they are."""

import io

import numpy as np
from PIL import Image

from diffgs_jax.data.records import Record
from diffgs_jax.synthesis.meshes.viewpoints import random_viewpoints


def numbered_record(number, views=8, **fields):
    """A record whose images tell which they are: red is 10 × record, green is 20 × view."""
    uid = f"thing/{number:03d}"
    images = [_flat_image((10 * number, 20 * view, 255, 255)) for view in range(views)]
    defaults = {"uid": uid, "domain": "object", "images": images, "cameras": random_viewpoints(uid, views)}
    return Record(**{**defaults, **fields})


def _flat_image(color, size=8):
    file = io.BytesIO()
    Image.fromarray(np.broadcast_to(np.asarray(color, np.uint8), (size, size, len(color))).copy()).save(file, "PNG")
    return file.getvalue()
