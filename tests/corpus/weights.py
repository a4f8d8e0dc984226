"""Weights of other programs, against torch where it is installed, and against the safetensors format read by hand."""

import io
import json
import math
import pathlib
import struct
import sys
import zipfile

import numpy as np
from mutations import Case, Seed, mutated, odd_json
from table import Reader

from diffgs_jax.models.diffusion_gs.published_files import read_camera_template, read_open_diffusiongs
from diffgs_jax.weights import load_torch

try:
    import torch as torch_module
except ImportError:
    torch_module = None

sys.path.append(str(pathlib.Path(__file__).parents[1] / "weights"))
from test_hostile_torch_files import PICKLES, STRUCTURES, VIEWS  # noqa: E402
from torch_archives import Storage, archive, tensor  # noqa: E402

NAMES = ("transformer.0.attn.qkv.weight", "transformer.0.attn.qkv.bias", "upsampler.linear.weight")
CONTENT = {
    "state_dict": {
        NAMES[0]: tensor(shape=(2, 2), stride=(2, 1)),
        NAMES[1]: tensor(Storage("HalfStorage", "1", 3), shape=(3,)),
        NAMES[2]: tensor(Storage("BFloat16Storage", "2", 4), offset=1, shape=(1, 3), stride=(3, 1)),
    },
    "epoch": 3,
    "rate": 0.5,
    "betas": [0.9, (1, 2), None, True, "text"],
}
STORAGES = {
    "0": np.arange(4, dtype="<f4"),
    "1": np.arange(3, dtype="<f2"),
    "2": np.asarray([0x3F80, 0x4000, 0x4040, 0x4080], "<u2"),
}


def zipped(value) -> bytes:
    file = io.BytesIO()
    archive(file, value, STORAGES)
    return file.getvalue()


def whole() -> list[Seed]:
    return [Seed("three tensors", {"a.pt": zipped(CONTENT)}, "a.pt")]


def by_hand():
    """Pickles with a right checksum that are damaged inside, and the lists of tests/weights."""
    with zipfile.ZipFile(io.BytesIO(zipped(CONTENT))) as opened:
        pickled = opened.read("archive/data.pkl")
    for name, content in mutated(pickled, "pickle"):
        if content:
            yield Case(f"pickle: {name}", {"a.pt": zipped(content)}, "a.pt", "a.pt")
    for group, cases in (("view", VIEWS), ("structure", {k: v for k, (v, _) in STRUCTURES.items()}), ("raw", PICKLES)):
        for name, value in cases.items():
            yield Case(f"{group}: {name}", {"a.pt": zipped(value if group == "raw" else [value])}, "a.pt", "a.pt")


def of_torch(path: str):
    if torch_module is None:
        return None

    def plain(value):
        if isinstance(value, torch_module.Tensor):
            return value.detach().float().numpy()
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value

    return plain(torch_module.load(path, weights_only=True, map_location="cpu"))


def _torch(name: str, mapped: bool) -> Reader:
    def read(path: str):
        return load_torch(pathlib.Path(path), mapped=mapped)

    return Reader(name, whole, read, of_torch, by_hand, stricter=True)


def torch() -> Reader:
    return _torch("torch", mapped=False)


def torch_mapped() -> Reader:
    return _torch("torch_mapped", mapped=True)


def safetensors() -> Reader:
    import safetensors.numpy

    arrays = {name: np.arange(6, dtype=np.float32).reshape(2, 3) + index for index, name in enumerate(NAMES)}
    content = safetensors.numpy.save(arrays)

    def read(path: str):
        return read_open_diffusiongs(pathlib.Path(path)).tensors

    def reference(path: str):
        data = pathlib.Path(path).read_bytes()
        (size,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + size])
        found = {}
        for name in sorted(header.keys() - {"__metadata__"}):
            kind = np.dtype({"F32": "<f4", "F64": "<f8", "F16": "<f2"}[header[name]["dtype"]])
            begin, end = header[name]["data_offsets"]
            values = np.frombuffer(data[8 + size + begin : 8 + size + end], kind)
            assert values.size == math.prod(header[name]["shape"])
            found[name] = values.reshape(header[name]["shape"])
        return found

    def headers():
        (size,) = struct.unpack_from("<Q", content)
        for name, text in odd_json(json.loads(content[8 : 8 + size]), limit=60):
            changed = struct.pack("<Q", len(text)) + text + content[8 + size :]
            yield Case(f"header: {name}", {"a.safetensors": changed}, "a.safetensors", "a.safetensors")

    seeds = [Seed("three tensors", {"a.safetensors": content}, "a.safetensors")]
    return Reader("safetensors", lambda: seeds, read, reference, headers)


def camera_template() -> Reader:
    azimuths, elevation, distance = np.radians([0.0, 90.0, 180.0, 270.0]), math.radians(15.0), 3.0
    poses = []
    for azimuth in azimuths:
        outward = [
            math.cos(elevation) * math.cos(azimuth),
            math.cos(elevation) * math.sin(azimuth),
            math.sin(elevation),
        ]
        forward = -np.asarray(outward)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3] = np.stack([right, np.cross(forward, right), forward, -distance * forward], axis=1)
        poses.append(pose[[1, 0, 2, 3]])  # the mirrored world
    lenses = np.tile(np.asarray([1422.2, 1422.2, 512.0, 512.0]), (4, 1))
    storages = {"0": np.stack(poses).astype("<f4"), "1": lenses.astype("<f4")}
    value = {
        "gen_c2w": tensor(Storage(count=64), shape=(1, 4, 4, 4), stride=(64, 16, 4, 1)),
        "gen_fxfycxcys": tensor(Storage(key="1", count=16), shape=(1, 4, 4), stride=(16, 4, 1)),
    }
    file = io.BytesIO()
    archive(file, value, storages)

    def numbers():
        draw = np.random.default_rng(0)
        for odd in (0.0, -1.0, np.nan, np.inf, 1e30, -1e38, 1e-40):
            for key in "01":
                for place in draw.integers(0, storages[key].size, 3):
                    changed = {name: array.copy() for name, array in storages.items()}
                    changed[key].flat[place] = odd
                    other = io.BytesIO()
                    archive(other, value, changed)
                    yield Case(f"{odd} at {place} of {key}", {"a.pt": other.getvalue()}, "a.pt", "a.pt")

    def read(path: str):
        rig = read_camera_template(pathlib.Path(path))
        return [rig.elevation, rig.distance, rig.fov, rig.azimuths]

    return Reader("camera_template", lambda: [Seed("a ring", {"a.pt": file.getvalue()}, "a.pt")], read, None, numbers)
