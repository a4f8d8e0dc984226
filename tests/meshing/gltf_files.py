"""Makes GLB files by hand: JSON and numbers."""

import io
import json
import struct

import numpy as np
from PIL import Image

COMPONENTS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
SHAPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}

# A square that faces +z, its corners from the lower left against the clock, and texture coordinates with v down.
CORNERS = np.asarray([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
UV = np.asarray([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32)
TWO = np.asarray([[0, 1, 2], [0, 2, 3]], np.uint16)


class Builder:
    """Collects arrays and objects of a glTF file."""

    def __init__(self):
        self.tree = {
            "asset": {"version": "2.0"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}],
            "meshes": [],
            "accessors": [],
            "bufferViews": [],
        }
        self.binary = b""

    def view(self, data, stride=None):
        self.binary += bytes(-len(self.binary) % 4)
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data)}
        if stride:
            view["byteStride"] = stride
        self.binary += data
        self.tree["bufferViews"].append(view)
        return len(self.tree["bufferViews"]) - 1

    def array(self, values, kind="f4", stride=None, **more):
        values = np.asarray(values, f"<{kind}").reshape(len(values), -1)
        data = values.tobytes()
        if stride:
            data = b"".join(row.tobytes().ljust(stride, b"\xee") for row in values)
        accessor = {"bufferView": self.view(data, stride), "componentType": COMPONENTS[kind], "count": len(values)}
        self.tree["accessors"].append({**accessor, "type": SHAPES[values.shape[1]], **more})
        return len(self.tree["accessors"]) - 1

    def square(self, material=None, uv=UV, colors=None, **more):
        """Adds a mesh: the square, with what is given."""
        attributes = {"POSITION": self.array(CORNERS), **more.pop("attributes", {})}
        if uv is not None:
            attributes["TEXCOORD_0"] = self.array(uv)
        if colors is not None:
            attributes["COLOR_0"] = self.array(colors)
        primitive = {"attributes": attributes, "indices": self.array(TWO.reshape(-1), "u2"), **more}
        if material is not None:
            self.tree.setdefault("materials", []).append(material)
            primitive["material"] = len(self.tree["materials"]) - 1
        self.tree["meshes"].append({"primitives": [primitive]})
        return primitive

    def texture(self, pixels, format="PNG", **sampler):
        """Adds a texture of its own image and sampler; returns a textureInfo."""
        data = io.BytesIO()
        Image.fromarray(np.asarray(pixels, np.uint8)).save(data, format)
        for name in ("images", "samplers", "textures"):
            self.tree.setdefault(name, [])
        self.tree["images"].append({"bufferView": self.view(data.getvalue()), "mimeType": f"image/{format.lower()}"})
        self.tree["samplers"].append(sampler)
        self.tree["textures"].append(
            {"source": len(self.tree["images"]) - 1, "sampler": len(self.tree["samplers"]) - 1}
        )
        return {"index": len(self.tree["textures"]) - 1}

    def glb(self):
        tree = {**self.tree, "buffers": [{"byteLength": len(self.binary)}]}
        return pack_glb(json.dumps(tree).encode(), self.binary)

    def write(self, path):
        path.write_bytes(self.glb())
        return path


def pack_glb(text, binary):
    text += b" " * (-len(text) % 4)
    binary += bytes(-len(binary) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def srgb(linear):
    """Encodes linear light (IEC 61966-2-1)."""
    linear = np.asarray(linear, float)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def linear(shown):
    """Decodes display values (IEC 61966-2-1)."""
    shown = np.asarray(shown, float)
    return np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
