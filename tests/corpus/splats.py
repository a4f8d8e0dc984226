"""Splats, against plyfile and against plain loops over the formats' specifications."""

import gzip
import io
import math
import os
import pathlib
import struct
import tempfile

import numpy as np
import plyfile
import zstandard
from mutations import Case, Seed, gzipped_zeros, mutated
from table import Reader

from diffgs_jax.geometry import Gaussians
from diffgs_jax.interop import read_gaussians, write_gaussians, write_spz


def some_gaussians(count: int, degree: int) -> Gaussians:
    draw = np.random.default_rng(count)
    return Gaussians(
        means=draw.normal(size=(count, 3)).astype(np.float32),
        rotations=draw.normal(size=(count, 4)).astype(np.float32),
        scales=np.exp(draw.normal(-3, 1, (count, 3))).astype(np.float32),
        opacities=draw.uniform(0.01, 0.99, count).astype(np.float32),
        sh=draw.uniform(-0.9, 0.9, size=(count, (degree + 1) ** 2, 3)).astype(np.float32),
    )


def written(suffix: str, count: int, degree: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / f"a{suffix}"
        write_gaussians(path, some_gaussians(count, degree))
        return path.read_bytes()


def as_seed(name: str, suffix: str, content: bytes) -> Seed:
    return Seed(name, {f"a{suffix}": content}, f"a{suffix}")


def ply() -> Reader:
    def text() -> bytes:
        data = plyfile.PlyData.read(io.BytesIO(written(".ply", 5, 0)))
        file = io.BytesIO()
        plyfile.PlyData(data.elements, text=True).write(file)
        return file.getvalue()

    def reference(path: str) -> Gaussians:
        vertex = plyfile.PlyData.read(path)["vertex"]
        rest = sum(name.startswith("f_rest_") for name in vertex.data.dtype.names)
        each = rest // 3
        rows = []
        with np.errstate(all="ignore"):
            for row in range(vertex.count):
                value = {name: float(vertex[name][row]) for name in vertex.data.dtype.names}
                sh = [[value[f"f_dc_{c}"] for c in range(3)]]
                sh += [[value[f"f_rest_{c * each + i}"] for c in range(3)] for i in range(each)]
                logit = np.float64(value["opacity"])
                rows.append(
                    (
                        [value["x"], value["y"], value["z"]],
                        [value[f"rot_{i}"] for i in range(4)],
                        [float(np.exp(np.float64(value[f"scale_{i}"]))) for i in range(3)],
                        float(1 / (1 + np.exp(-logit))),
                        sh,
                    )
                )
        shapes = [(0, 3), (0, 4), (0, 3), (0,), (0, each + 1, 3)]
        leaves = zip(*rows, strict=True) if rows else [np.zeros(shape) for shape in shapes]
        arrays = [np.asarray(list(leaf)) for leaf in leaves]
        return Gaussians(*(array.reshape(-1, *shape[1:]) for array, shape in zip(arrays, shapes, strict=True)))

    def seeds() -> list[Seed]:
        return [
            as_seed("degree 1", ".ply", written(".ply", 6, 1)),
            as_seed("text", ".ply", text()),
        ]

    return Reader("ply", seeds, read_gaussians, reference, rtol=1e-4, atol=1e-6)


def splat() -> Reader:
    def reference(path: str) -> Gaussians:
        data = pathlib.Path(path).read_bytes()
        rows = []
        for place in range(0, len(data), 32):
            *floats, red, green, blue, alpha, w, x, y, z = struct.unpack_from("<6f8B", data, place)
            color = [[(value / 255 - 0.5) / 0.28209479177387814 for value in (red, green, blue)]]
            turn = [(value - 128) / 128 for value in (w, x, y, z)]
            rows.append((floats[:3], turn, floats[3:], alpha / 255, color))
        shapes = [(0, 3), (0, 4), (0, 3), (0,), (0, 1, 3)]
        leaves = zip(*rows, strict=True) if rows else [np.zeros(shape) for shape in shapes]
        arrays = [np.asarray(list(leaf)) for leaf in leaves]
        return Gaussians(*(array.reshape(-1, *shape[1:]) for array, shape in zip(arrays, shapes, strict=True)))

    def seeds() -> list[Seed]:
        return [as_seed("six", ".splat", written(".splat", 6, 0))]

    return Reader("splat", seeds, read_gaussians, reference, rtol=1e-6, atol=1e-6)


def packed_spz(version: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write_spz(f"{folder}/a.spz", some_gaussians(6, 1), version=version)
        return pathlib.Path(f"{folder}/a.spz").read_bytes()


def spz_of(whole: bytes, name: str, cases) -> Reader:
    def reference(path: str) -> Gaussians | None:
        if os.path.getsize(path) > 100_000:
            return None  # it would unpack a bomb
        data = pathlib.Path(path).read_bytes()
        if data[:4] == b"NGSP":
            _, version, count, degree, bits, _, streams, table = struct.unpack_from("<4sIIBBBBI", data)
            assert version == 4
            place, joined = table + 16 * streams, bytes(16)
            for index in range(streams):
                size, _ = struct.unpack_from("<QQ", data, table + 16 * index)
                joined += zstandard.ZstdDecompressor().decompress(data[place : place + size], max_output_size=10**6)
                place += size
            data = joined
        else:
            data = gzip.decompress(data)
            magic, version, count, degree, bits, _, _ = struct.unpack_from("<4sIIBBBB", data)
            assert magic == b"NGSP" and version in (2, 3)
        others = (degree + 1) ** 2 - 1
        means, rotations, scales, opacities, sh = [], [], [], [], []
        starts = [16]
        for size in (9, 1, 3, 3, 3 if version == 2 else 4):
            starts.append(starts[-1] + size * count)
        for i in range(count):
            place = starts[0] + 9 * i
            x, y, z = (int.from_bytes(data[place + 3 * c : place + 3 * c + 3], "little", signed=True) for c in range(3))
            means.append([x / 2**bits, y / 2**bits, z / 2**bits])
            opacities.append(data[starts[1] + i] / 255)
            color = [(data[starts[2] + 3 * i + c] / 255 - 0.5) / 0.15 for c in range(3)]
            scales.append([math.exp(data[starts[3] + 3 * i + c] / 16 - 10) for c in range(3)])
            if version != 2:
                word = int.from_bytes(data[starts[4] + 4 * i : starts[4] + 4 * i + 4], "little")
                largest, turn = word >> 30, [0.0] * 4
                for c in (3, 2, 1, 0):
                    if c != largest:
                        turn[c] = (word & 511) / 511 * 0.5**0.5 * (-1 if word & 512 else 1)
                        word >>= 10
                turn[largest] = math.sqrt(max(0.0, 1 - sum(value * value for value in turn)))
            else:
                turn = [data[starts[4] + 3 * i + c] / 127.5 - 1 for c in range(3)]
                turn.append(math.sqrt(max(0.0, 1 - sum(value * value for value in turn))))
            rotations.append([turn[3], turn[0], turn[1], turn[2]])
            rest = [[(data[starts[5] + 3 * (i * others + k) + c] - 128) / 128 for c in range(3)] for k in range(others)]
            sh.append([color, *rest])
        shapes = [(0, 3), (0, 4), (0, 3), (0,), (0, others + 1, 3)]
        leaves = (means, rotations, scales, opacities, sh)
        return Gaussians(
            *(np.asarray(leaf).reshape(-1, *shape[1:]) for leaf, shape in zip(leaves, shapes, strict=True))
        )

    return Reader(name, lambda: [as_seed("six", ".spz", whole)], read_gaussians, reference, cases, rtol=1e-5, atol=1e-5)


def spz() -> Reader:
    whole = packed_spz(3)

    def unpacked():
        """What is inside, damaged and packed again with a right checksum."""
        for name, content in mutated(gzip.decompress(whole), "inside"):
            yield Case(f"inside: {name}", {"a.spz": gzip.compress(content, 1, mtime=0)}, "a.spz", "a.spz")
        head = struct.Struct("<4sIIBBBB")
        bombs = {
            "ten million": gzipped_zeros(head.pack(b"NGSP", 3, 10_000_000, 3, 12, 0, 0), 650_000_000),
            "half a million": gzipped_zeros(head.pack(b"NGSP", 3, 500_000, 3, 12, 0, 0), 500_000 * 65),
            "zeros after the end": gzipped_zeros(gzip.decompress(whole), 400_000_000),
        }
        for name, content in bombs.items():
            yield Case(f"bomb: {name}", {"a.spz": content}, "a.spz", "a.spz")

    return spz_of(whole, "spz", unpacked)


def spz4() -> Reader:
    whole = packed_spz(4)
    table, streams = 32, whole[15]
    sizes = [struct.unpack_from("<QQ", whole, table + 16 * index) for index in range(streams)]
    edges = np.cumsum([table + 16 * streams, *(size for size, _ in sizes)])
    inside = [zstandard.decompress(whole[start:end]) for start, end in zip(edges, edges[1:], strict=False)]

    def again(fields: list[bytes], head: bytes = whole[:32]) -> bytes:
        frames = [zstandard.compress(field) for field in fields]
        entries = [struct.pack("<QQ", len(frame), size) for frame, (_, size) in zip(frames, sizes, strict=True)]
        return head + b"".join(entries) + b"".join(frames)

    def unpacked():
        """What is in the streams, damaged and packed again; tables and headers that promise what is not there."""
        for index, field in enumerate(inside):
            for name, content in mutated(field, f"stream {index}"):
                fields = [*inside[:index], content, *inside[index + 1 :]]
                yield Case(f"inside: {index} {name}", {"a.spz": again(fields)}, "a.spz", "a.spz")
        many = whole[:8] + struct.pack("<I", 10_000_000) + whole[12:32]
        bombs = {
            "ten million": again([bytes(len(field)) for field in inside], many),
            "a stream of zeros": again([bytes(400_000_000), *inside[1:]]),
        }
        for name, content in bombs.items():
            yield Case(f"bomb: {name}", {"a.spz": content}, "a.spz", "a.spz")

    return spz_of(whole, "spz4", unpacked)
