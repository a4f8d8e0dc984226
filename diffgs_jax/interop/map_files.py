"""Depth, normals and coverage as files of numbers, for other tools: EXR in float32, or PNG in 16 bits."""

import os
import pathlib
import struct
import zlib

import numpy as np
from jaxtyping import Float, UInt16

from diffgs_jax.files import write_bytes, write_json, written_beside
from diffgs_jax.interop.map_settings import MapFormat, MapKind, check_maps
from diffgs_jax.interop.orbit_views import OrbitViews

_CHANNELS = {"depth": "Z", "normals": "RGB", "mask": "A"}
_MOST = 2**16 - 1
_SOLID = 0.5  # coverage under which a pixel has no depth and no normal


def write_maps(folder: pathlib.Path, seen: OrbitViews, kinds: tuple[MapKind, ...], form: MapFormat = "exr") -> None:
    """Writes a file for each view and kind, `depth_000.exr`, and `maps.json` with the cameras and what numbers mean.

    Args:
        folder: is there.
        seen: the views.
        kinds: what of them.
        form: as what.

    Raises:
        UserError: if a package is missing or a file cannot be written.
    """
    check_maps(kinds, form, len(seen.alphas))
    solid = seen.alphas >= _SOLID
    depths = np.where(solid, seen.depths, 0.0)
    step = max(float(depths.max(initial=0.0)), 1e-9) / _MOST
    values: dict[str, Float[np.ndarray, "..."]] = {}
    if "depth" in kinds:
        values["depth"] = depths
    if "normals" in kinds:
        values["normals"] = np.where(solid[..., None], seen.normals(), 0.0)
    if "mask" in kinds:
        values["mask"] = seen.alphas
    codes = {"depth": (1 / step, 0.0), "normals": (_MOST / 2, _MOST / 2), "mask": (_MOST, 0.0)}
    for kind, arrays in values.items():
        factor, offset = codes[kind]
        for view, array in enumerate(arrays):
            name = folder / f"{kind}_{view:03d}.{form}"
            if form == "exr":
                _write_exr(name, array, _CHANNELS[kind])
            else:
                write_bytes(name, png_16(np.clip(np.round(array * factor + offset), 0, _MOST).astype(np.uint16)))
    told = {
        "axes": "world z up; cameras look along +z, x right, y down",
        "camera_to_world": np.asarray(seen.cameras.camera_to_world).tolist(),
        "intrinsics": np.asarray(seen.cameras.intrinsics).tolist(),  # fx fy cx cy, fractions of width and height
    }
    if form == "png":
        meanings = {"depth": f"value * {step!r}", "normals": f"value / {_MOST / 2} - 1", "mask": f"value / {_MOST}"}
        told["values"] = {kind: meanings[kind] for kind in values}
    write_json(folder / "maps.json", told)


def png_16(values: UInt16[np.ndarray, "h w"] | UInt16[np.ndarray, "h w 3"]) -> bytes:
    """Returns a PNG of 16 bits a channel, grey or RGB (Pillow writes the grey ones alone).

    Source: PNG specification (ISO/IEC 15948), chunks IHDR, IDAT, IEND; rows without a filter.
    """
    height, width = values.shape[:2]
    rows = np.ascontiguousarray(values.astype(">u2")).view(np.uint8).reshape(height, -1)
    raw = np.pad(rows, [(0, 0), (1, 0)])  # filter type 0 before each row
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if values.ndim == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _write_exr(path: str | os.PathLike[str], values: Float[np.ndarray, "..."], channels: str) -> None:
    import OpenEXR  # ty: ignore (optional)

    planes = np.moveaxis(values.reshape(*values.shape[:2], -1).astype(np.float32), -1, 0)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    named = {name: np.ascontiguousarray(plane) for name, plane in zip(channels, planes, strict=True)}
    with written_beside(path) as beside, OpenEXR.File(header, named) as file:
        file.write(str(beside))
