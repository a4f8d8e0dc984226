"""Measures how well meshes keep the silhouettes of the splats they are made of, on test objects.

python scripts/measure_meshes.py --data data/furniture_128 --objects 24 --out meshes

For every object: a splat is sampled from its condition view, meshed, written as GLB, opened in trimesh, and its
silhouette cast by rays (embreex) from cameras that the meshing did not use, against the splat's alpha above ½. Writes
`meshes.png`, one row an object: picture, splats, meshes; and prints a table.
"""

import dataclasses
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import trimesh
from PIL import Image
from trimesh.ray.ray_pyembree import RayMeshIntersector

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import open_store
from diffgs_jax.errors import DataError, report_errors
from diffgs_jax.evaluation import alpha_iou, load_objects
from diffgs_jax.files import written_beside
from diffgs_jax.geometry import Cameras, Gaussians, intrinsics_from_fov, look_at, spherical_position
from diffgs_jax.inference import load
from diffgs_jax.meshing import extract_mesh, read_mesh, write_mesh
from diffgs_jax.rasterizer import render

SIZE = 128
SHOWN = 3  # views of each object in the picture


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    data: pathlib.Path
    """Folder of records; the test split is used."""
    out: pathlib.Path
    """Folder for the meshes and the picture."""
    checkpoint: pathlib.Path | None = None
    """A run or a checkpoint; by default the model that comes with the package."""
    objects: int = 24
    """How many, spread evenly over the split."""
    seed: int = 1
    """Of the noise."""
    steps: int = 10
    """Denoising steps."""
    resolution: int = 128
    """Voxels along an object's longest side."""
    views: int = 40
    """Views the meshing takes."""
    views: int = 20
    """Views the measurement takes, at elevations from -10 to 50 degrees."""


def main(options: Options) -> None:
    """Samples, meshes and measures."""
    options.out.mkdir(parents=True, exist_ok=True)
    store = open_store(options.data, "test")
    chosen = np.unique(np.linspace(0, len(store) - 1, options.objects).astype(int))
    pipeline = load(options.checkpoint)
    cameras = scoring_cameras(options.views)
    draw = jax.jit(lambda gaussians: render(gaussians, cameras, height=SIZE, width=SIZE))
    rows, scores = [], []
    print("object | IoU mean | IoU least | faces | parts | closed | seconds")
    for item in load_objects(store, pipeline.config.data.resolution, [int(index) for index in chosen]):
        image = cut_out(item.images[item.condition], item.alphas[item.condition])
        gaussians = pipeline(image, seed=options.seed, steps=options.steps).splat
        began = time.perf_counter()
        try:
            mesh = extract_mesh(gaussians, resolution=options.resolution, views=options.views)
        except DataError as error:
            print(f"{item.uid} | {error}", flush=True)
            continue
        seconds = time.perf_counter() - began
        path = options.out / f"{item.uid.replace('/', '-')}.glb"
        write_mesh(path, mesh)
        opened = trimesh.load_mesh(path, process=True)
        parts = trimesh.graph.connected_components(opened.face_adjacency, nodes=np.arange(len(opened.faces)))
        shares = [opened.area_faces[part].sum() / opened.area for part in parts]
        assert np.isfinite(opened.vertices).all() and min(shares) >= 0.001
        back = read_mesh(path)
        splat = draw(Gaussians(*map(jnp.asarray, gaussians)))
        seen = [cast(back, cameras, view) for view in range(options.views)]
        iou = np.asarray(alpha_iou(np.stack([alpha for _, alpha in seen]), splat.alpha))
        scores.append(iou)
        print(
            f"{item.uid} | {iou.mean():.3f} | {iou.min():.3f} | {len(opened.faces)} | {len(parts)} | "
            f"{opened.is_watertight} | {seconds:.1f}",
            flush=True,
        )
        shown = np.linspace(0, options.views - 1, SHOWN).astype(int)
        seen_picture = jax.image.resize(item.images[item.condition], (SIZE, SIZE, 3), "bilinear")
        splats = np.concatenate(list(np.asarray(splat.image)[shown]), axis=1)
        meshes = np.concatenate([seen[view][0] for view in shown], axis=1)
        rows.append(np.concatenate([seen_picture, splats, meshes], axis=1))
    if not scores:
        raise DataError("none of the splats has a surface")
    table = np.stack(scores)
    objects = table.mean(axis=1)
    print(
        f"{len(table)} meshes of {len(chosen)} objects: IoU {table.mean():.3f}, of the worst {objects.min():.3f}, ",
        end="",
    )
    print(f"{(objects < 0.9).sum()} under 0.9; least single view {table.min():.3f}")
    sheet = np.clip(np.concatenate(rows), 0, 1)
    with written_beside(options.out / "meshes.png") as beside:
        Image.fromarray((sheet * 255 + 0.5).astype(np.uint8)).save(beside)


def scoring_cameras(count: int) -> Cameras:
    """Returns cameras at the distance of the object rig, none of them one that the meshing uses."""
    draw = np.random.default_rng(5)
    elevations = np.radians(np.resize([-10.0, 20.0, 20.0, 50.0], count))
    pose = look_at(spherical_position(draw.uniform(0, 2 * np.pi, count), elevations, 2.7))
    return Cameras(pose, np.tile(intrinsics_from_fov(50.0), (count, 1)))


def cut_out(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Returns RGBA pixels of a view on white."""
    color = np.clip((image - 1 + alpha[..., None]) / np.maximum(alpha[..., None], 1e-3), 0, 1)
    return np.concatenate([np.where(alpha[..., None] > 0, color, 1.0), alpha[..., None]], axis=-1).astype(np.float32)


def cast(mesh, cameras: Cameras, view: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns what a camera sees of a mesh, on white, shaded a little by its normals; and which pixels it covers."""
    model = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    fx, fy, cx, cy = cameras.intrinsics[view]
    pose = np.asarray(cameras.camera_to_world[view], np.float64)
    centers = (np.arange(SIZE) + 0.5) / SIZE
    rows, columns = np.meshgrid(centers, centers, indexing="ij")
    directions = np.stack([(columns - cx) / fx, (rows - cy) / fy, np.ones_like(rows)], -1).reshape(-1, 3)
    directions = directions @ pose[:3, :3].T
    origins = np.tile(pose[:3, 3], (len(directions), 1))
    points, rays, faces = RayMeshIntersector(model).intersects_location(origins, directions, multiple_hits=False)
    corners = trimesh.triangles.points_to_barycentric(model.triangles[faces], points)
    color = np.einsum("pc,pck->pk", corners, mesh.colors[mesh.faces[faces]])
    light = 0.6 + 0.4 * np.abs(np.sum(model.face_normals[faces] * pose[:3, 2], axis=1))
    image, alpha = np.ones((SIZE * SIZE, 3)), np.zeros(SIZE * SIZE)
    image[rays], alpha[rays] = color * light[:, None], 1.0
    return image.reshape(SIZE, SIZE, 3), alpha.reshape(SIZE, SIZE)


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Options, description=__doc__))
