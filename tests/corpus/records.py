"""Datasets, captures, record stores, checkpoints and the JSON files that the project writes and reads again."""

import gzip
import io
import json
import math
import pathlib
import struct
import tempfile

import numpy as np
from mutations import Case, Seed, odd_json
from PIL import Image
from table import Reader

PACKAGE = pathlib.Path(__file__).parents[2] / "diffgs_jax"


def pose(azimuth: float) -> list[list[float]]:
    """A camera on a circle that looks at the origin, OpenGL axes."""
    center = np.asarray([2.7 * math.cos(azimuth), 2.7 * math.sin(azimuth), 0.9])
    back = center / np.linalg.norm(center)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3] = np.stack([right, np.cross(back, right), back, center], axis=1)
    return matrix.tolist()


def picture(number: int, *, alpha: bool) -> bytes:
    draw = np.random.default_rng(number)
    pixels = np.asarray(
        Image.fromarray(draw.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((32, 32), Image.Resampling.BICUBIC)
    )
    if alpha:
        rows, columns = np.mgrid[:32, :32]
        inside = np.where((rows - 16) ** 2 + (columns - 16) ** 2 < 100, 255, 0)
        pixels = np.dstack([pixels, inside]).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def contents(records) -> list[list]:
    """Returns the numbers of records that are read one after another; one that is bad stops it."""
    return [
        [record.uid, len(record.images), *(np.asarray(leaf, np.float64) for leaf in record.cameras)]
        for record in records
    ]


def capture(*, alpha: bool) -> tuple[dict, dict[str, bytes]]:
    names = [f"images/{number}.png" for number in range(4)]
    tree = {
        "w": 32,
        "h": 32,
        "fl_x": 34.0,
        "fl_y": 34.0,
        "cx": 16.0,
        "cy": 16.0,
        "k1": 0.0,
        "frames": [{"file_path": name, "transform_matrix": pose(index * 1.5)} for index, name in enumerate(names)],
    }
    if alpha:
        tree["object_frame"] = True
    return tree, {name: picture(number, alpha=alpha) for number, name in enumerate(names[:2])} | {
        name: picture(0, alpha=alpha) for name in names[2:]
    }


def transforms_json() -> Reader:
    from diffgs_jax.datasets.transforms_json import read_transforms

    def seeds() -> list[Seed]:
        found = []
        for name, alpha in (("scene", False), ("object", True)):
            tree, images = capture(alpha=alpha)
            files = {"transforms.json": json.dumps(tree).encode(), **images}
            found.append(Seed(name, files, "transforms.json"))
        return found

    def values():
        tree, images = capture(alpha=False)
        for name, text in odd_json(tree, limit=250):
            yield Case(f"value: {name}", {"transforms.json": text, **images}, "transforms.json", "transforms.json")

    return Reader("transforms_json", seeds, lambda path: contents(read_transforms(pathlib.Path(path))), None, values)


def colmap() -> Reader:
    from diffgs_jax.datasets._colmap import read_colmap
    from diffgs_jax.datasets._poses import rigid_poses

    lens = (320.0, 240.0, [250.0, 251.0, 160.0, 120.0])

    def text() -> dict[str, bytes]:
        cameras = "# cameras\n1 PINHOLE 320 240 " + " ".join(map(str, lens[2])) + "\n"
        images = "# images\n" + "".join(
            f"{number} 1 0 {0.1 * number} 0 {number} 2.5 -1 1 {number}.jpg\n10 20 -1 30 40 5\n" for number in (1, 2)
        )
        return {"cameras.txt": cameras.encode(), "images.txt": images.encode()}

    def binary() -> dict[str, bytes]:
        cameras = struct.pack("<QIiQQ4d", 1, 1, 1, 320, 240, *lens[2])
        images = struct.pack("<Q", 2)
        for number in (1, 2):
            images += struct.pack("<I7dI", number, 1.0, 0.0, 0.1 * number, 0.0, number, 2.5, -1.0, 1)
            images += f"{number}.jpg".encode() + b"\0" + struct.pack("<Q", 2) + struct.pack("<ddq", 10, 20, -1) * 2
        return {"cameras.bin": cameras, "images.bin": images}

    def read(path: str) -> list:
        found = read_colmap(pathlib.Path(path))
        poses = rigid_poses(np.stack([image.camera_to_world for image in found])) if found else []
        return [[image.name, image.lens.width, image.lens.fx, pose] for image, pose in zip(found, poses, strict=True)]

    seeds = [Seed("binary", binary(), "."), Seed("text", text(), ".")]
    return Reader("colmap", lambda: seeds, read)


def realestate10k() -> Reader:
    import sys

    sys.path.append(str(pathlib.Path(__file__).parents[1] / "weights"))
    from torch_archives import Storage, archive, tensor

    from diffgs_jax.datasets.realestate10k import read_realestate10k

    images = [picture(number, alpha=False) for number in range(2)]
    cameras = np.zeros((2, 18), "<f4")
    for number in range(2):
        matrix = np.linalg.inv(np.asarray(pose(number)) * [1, -1, -1, 1])
        cameras[number] = [0.9, 0.9, 0.5, 0.5, 0, 0, *matrix[:3].ravel()]
    storages = {"0": cameras, "1": images[0], "2": images[1]}
    value = [
        {
            "key": "scene",
            "cameras": tensor(Storage(count=36), shape=(2, 18), stride=(18, 1)),
            "images": [
                tensor(Storage("ByteStorage", str(number + 1), len(image)), shape=(len(image),))
                for number, image in enumerate(images)
            ],
        }
    ]
    file = io.BytesIO()
    archive(file, value, storages)
    seeds = [Seed("a chunk", {"train/000000.torch": file.getvalue()}, ".")]
    return Reader("realestate10k", lambda: seeds, lambda path: contents(read_realestate10k(pathlib.Path(path))))


def objaverse() -> Reader:
    from diffgs_jax.datasets.objaverse import find_objaverse

    tree = {"abc": {"name": "chair", "license": "by", "user": {"username": "somebody"}, "tags": [{"name": "x"}]}}
    place = "metadata/000-000.json.gz"

    def files(text: bytes) -> dict[str, bytes]:
        return {"glbs/000-000/abc.glb": b"glTF", place: gzip.compress(text, mtime=0)}

    def read(path: str) -> list:
        return [[mesh.uid, mesh.name, mesh.creator, mesh.license] for mesh in find_objaverse(pathlib.Path(path))]

    def values():
        for name, text in odd_json(tree, limit=100):
            yield Case(f"value: {name}", files(text), ".", place)

    return Reader("objaverse", lambda: [Seed("one mesh", files(json.dumps(tree).encode()), ".")], read, None, values)


def sample_json() -> Reader:
    from diffgs_jax.commands.sample_record import read_options

    options = {"image": "a.png", "seed": 3, "steps": 4, "formats": ["ply"], "elevation": 20.0, "checkpoint": None}
    tree = {"version": 0, "options": options, "model": {"sha256": "0"}, "inputs": {"a.png": "0"}, "files": {}}

    def current() -> dict:
        import diffgs_jax.commands.sample_record as module

        return {**tree, "version": module._VERSION}

    def read(path: str):
        found, record = read_options(pathlib.Path(path), pathlib.Path("out"))
        return [str(found.image), found.seed, sorted(record)]

    def values():
        for name, text in odd_json(current(), limit=200):
            yield Case(f"value: {name}", {"sample.json": text}, "sample.json", "sample.json")

    def seeds() -> list[Seed]:
        return [Seed("a sample", {"sample.json": json.dumps(current()).encode()}, "sample.json")]

    return Reader("sample_json", seeds, read, None, values)


def store() -> Reader:
    from diffgs_jax.data.records import Record, encode_record
    from diffgs_jax.data.store import open_store, write_store
    from diffgs_jax.geometry import Cameras

    def files() -> dict[str, bytes]:
        cameras = Cameras(np.stack([pose(0.0), pose(1.0)]).astype(np.float32), np.full((2, 4), 0.5, np.float32))
        record = Record("thing", "object", [picture(0, alpha=True), picture(1, alpha=True)], cameras)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "store"
            write_store(path, {"train": [("thing", lambda: encode_record(record))]}, {"name": "one"})
            return {file.name: file.read_bytes() for file in path.iterdir()}

    def read(path: str) -> list:
        return contents(open_store(path, "train"))

    def values():
        whole = files()
        index = next(name for name in whole if name.endswith(".json"))
        for name, text in odd_json(json.loads(whole[index]), limit=150):
            yield Case(f"value: {name}", {**whole, index: text}, ".", index)

    return Reader("store", lambda: [Seed("one record", files(), ".")], read, None, values)


def run_config() -> Reader:
    from diffgs_jax.checkpoints import read_metadata
    from diffgs_jax.config import from_dict, to_dict

    step = next(path for path in (PACKAGE / "checkpoints" / "furniture").iterdir() if path.is_dir())
    small = {
        str(file.relative_to(step.parent)): file.read_bytes()
        for file in step.iterdir()
        if file.is_file() and file.name != "SHA256SUMS"
    }
    stored = f"{step.name}/_CHECKPOINT_METADATA"

    def read(path: str):
        metadata = read_metadata(path)
        return json.loads(json.dumps(to_dict(from_dict(metadata["config"], "config"))))

    def values():
        for name, text in odd_json(json.loads(small[stored]), limit=400):
            yield Case(f"value: {name}", {**small, stored: text}, ".", stored)

    return Reader("run_config", lambda: [Seed("without digests", small, ".")], read, None, values)


def _mesh(name: str, suffix: str) -> Reader:
    trimesh = __import__("trimesh")

    from diffgs_jax.meshing import read_mesh

    box = trimesh.creation.box((1, 2, 3))
    box.visual.vertex_colors = np.arange(32, dtype=np.uint8).reshape(8, 4) * 7 | 3
    textured = trimesh.creation.box((1, 1, 1))
    corners = np.random.default_rng(0).random((8, 2))
    image = Image.open(io.BytesIO(picture(0, alpha=False)))
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=image, metallicFactor=0.0)
    textured.visual = trimesh.visual.TextureVisuals(uv=corners, material=material)

    def seeds() -> list[Seed]:
        found = []
        for kind, mesh in (("colours", box), ("a texture", textured)):
            if suffix == ".glb":
                found.append(Seed(kind, {"a.glb": mesh.export(file_type="glb")}, "a.glb"))
            elif kind == "colours":
                found.append(Seed(kind, {"a.obj": mesh.export(file_type="obj").encode()}, "a.obj"))
        return found

    def values():
        content = seeds()[0].files.get("a.glb")
        if content is None:
            return
        (size,) = struct.unpack_from("<I", content, 12)
        for title, text in odd_json(json.loads(content[20 : 20 + size]), limit=400):
            padded = text + b" " * (-len(text) % 4)
            rest = content[20 + size :]
            head = struct.pack("<4sIIII", b"glTF", 2, 20 + len(padded) + len(rest), len(padded), 0x4E4F534A)
            yield Case(f"value: {title}", {"a.glb": head + padded + rest}, "a.glb", "a.glb")

    return Reader(name, seeds, read_mesh, None, values)


def glb() -> Reader:
    """Meshes of glTF."""
    return _mesh("glb", ".glb")


def obj() -> Reader:
    """Meshes of Wavefront."""
    return _mesh("obj", ".obj")
