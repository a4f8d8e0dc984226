"""Who the rasterizer is compared with in `bench_rasterizer.py`: C and PyTorch on a CPU, gsplat and splax on a GPU.

A peer that is not installed is left out. Every one of them renders the same problem and is given what it wants as input
before the clock starts.
"""

import ctypes
import functools
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffgs_jax.geometry import Cameras, Gaussians, covariances, sh_to_color, world_to_camera
from diffgs_jax.rasterizer import project


class Problem(NamedTuple):
    """What is rendered, and the gradient that comes back.

    Attributes:
        gaussians: `[scenes, n]`, float32, spherical harmonics of degree 0.
        cameras: `[scenes, views]`.
        side: height and width of the images, pixels.
        cotangent: `[scenes, views, side, side, 3]`; the scalar that is differentiated is Σ image · cotangent.
    """

    gaussians: Gaussians
    cameras: Cameras
    side: int
    cotangent: Float[np.ndarray, "scenes views side side 3"]


class Contestant(NamedTuple):
    """One program that renders the problem; its functions return when the work is done.

    Attributes:
        name: of the program.
        forward: returns images `[scenes, views, side, side, 3]` on white.
        gradient: renders and differentiates by the Gaussians.
        covers: what is inside the clock.
    """

    name: str
    forward: Callable[[], Any]
    gradient: Callable[[], Any]
    covers: str


def installed_peers(problem: Problem, torch_python: pathlib.Path | None = None) -> list[Contestant]:
    """Returns the peers that can run here; says which cannot, and why.

    Args:
        problem: what is rendered.
        torch_python: interpreter that has PyTorch, for plain PyTorch on a CPU.
    """
    peers = []
    candidates: dict[str, Callable[[Problem], Contestant]] = {"gsplat": gsplat, "splax": splax}
    if jax.default_backend() == "cpu":
        candidates = {"the C loop": yardstick}
        if torch_python is not None:
            candidates["plain PyTorch"] = functools.partial(plain_torch, torch_python)
    for name, peer in candidates.items():
        try:
            peers.append(peer(problem))
        except (ImportError, OSError, subprocess.CalledProcessError) as error:
            print(f"without {name}: {error}")
    return peers


def yardstick(problem: Problem) -> Contestant:
    """Returns the plain C loop with OpenMP (`benchmarks/raster_yardstick.c`): tile lists and blending.

    It is handed projected Gaussians in depth order, so projection and sorting are not in its time, and it blends
    colours only, where ours blends depth too.

    Raises:
        OSError: if there is no C compiler.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise OSError("there is no C compiler")
    source = pathlib.Path(__file__).parent.parent / "benchmarks" / "raster_yardstick.c"
    library = pathlib.Path(tempfile.mkdtemp()) / "raster_yardstick.so"
    flags = ["-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, source, "-o", library, "-lm"], check=True)
    functions = ctypes.CDLL(str(library))
    lists = [_sorted_projection(problem, scene, view) for scene, view in np.ndindex(problem.cotangent.shape[:2])]
    cotangents = problem.cotangent.reshape(-1, problem.side, problem.side, 3)
    white = np.ones(3, np.float32)
    size = (ctypes.c_int(problem.side), ctypes.c_int(problem.side))

    def forward_one(arrays: list[np.ndarray]) -> np.ndarray:
        image = np.zeros((problem.side, problem.side, 3), np.float32)
        light = np.zeros((problem.side, problem.side), np.float32)
        visited = ctypes.c_int64()
        head = (ctypes.c_int(len(arrays[0])), *map(_pointer, arrays), *size, _pointer(white))
        functions.forward(*head, _pointer(image), _pointer(light), ctypes.byref(visited))
        return image

    def forward() -> np.ndarray:
        return np.stack([forward_one(arrays) for arrays in lists]).reshape(problem.cotangent.shape)

    def gradient() -> None:
        for arrays, cotangent in zip(lists, cotangents, strict=True):
            image = forward_one(arrays)
            gradients = [np.zeros_like(array) for array in arrays[:4]]
            head = (ctypes.c_int(len(arrays[0])), *map(_pointer, arrays), *size, _pointer(white))
            functions.backward(*head, _pointer(image), _pointer(cotangent), *map(_pointer, gradients))

    return Contestant("C yardstick", forward, gradient, "tile lists and blending, without projection and sorting")


def plain_torch(python: pathlib.Path, problem: Problem) -> Contestant:
    """Returns the vectorised PyTorch rasterizer (`benchmarks/torch_rasterizer.py`), in a process of its own.

    Args:
        python: interpreter that has PyTorch.
        problem: what is rendered.

    Raises:
        OSError: if the process cannot be started, or ends.
    """
    folder = pathlib.Path(tempfile.mkdtemp())
    gaussians = problem.gaussians
    nowhere = jnp.zeros((len(gaussians.means), 3))  # colours of degree 0 are the same from everywhere
    np.savez(
        folder / "problem.npz",
        means=gaussians.means,
        rotations=gaussians.rotations,
        scales=gaussians.scales,
        opacities=gaussians.opacities,
        colors=np.asarray(sh_to_color(jnp.asarray(gaussians.sh), jnp.asarray(gaussians.means), nowhere)),
        views=np.asarray(world_to_camera(jnp.asarray(problem.cameras.camera_to_world))),
        lenses=np.asarray(problem.cameras.intrinsics, np.float32) * problem.side,
        cotangent=problem.cotangent,
    )
    source = pathlib.Path(__file__).parent.parent / "benchmarks" / "torch_rasterizer.py"
    process = subprocess.Popen([python, source, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def wait() -> None:
        assert process.stdout is not None
        if process.stdout.readline() != "done\n":
            raise OSError(f"{source.name} ended with code {process.wait()}")

    def ask(word: str) -> None:
        assert process.stdin is not None
        process.stdin.write(word + "\n")
        process.stdin.flush()
        wait()

    def forward() -> np.ndarray:
        ask("forward")
        return np.load(folder / "image.npy")

    wait()  # until it has read the problem: now it is known to have PyTorch
    return Contestant("plain PyTorch", forward, functools.partial(ask, "gradient"), "everything")


def gsplat(problem: Problem) -> Contestant:
    """Returns gsplat's `rasterization`, unpacked, colours and depth.

    Raises:
        ImportError: if it is not installed.
    """
    import torch  # ty: ignore (optional)
    from gsplat import rasterization  # ty: ignore (optional)

    def tensor(values: Any) -> Any:
        return torch.tensor(np.asarray(values), device="cuda")

    gaussians = problem.gaussians
    nowhere = jnp.zeros((len(gaussians.means), 3))  # colours of degree 0 are the same from everywhere
    colors = np.asarray(sh_to_color(jnp.asarray(gaussians.sh), jnp.asarray(gaussians.means), nowhere))
    leaves = [tensor(x) for x in (gaussians.means, gaussians.rotations, gaussians.scales, gaussians.opacities, colors)]
    views = tensor(world_to_camera(jnp.asarray(problem.cameras.camera_to_world)))
    intrinsics = np.asarray(problem.cameras.intrinsics) * problem.side
    matrices = np.zeros((*intrinsics.shape[:-1], 3, 3), np.float32)
    for index, place in enumerate([(0, 0), (1, 1), (0, 2), (1, 2)]):
        matrices[..., place[0], place[1]] = intrinsics[..., index]
    matrices[..., 2, 2] = 1.0
    matrices, cotangent = tensor(matrices), tensor(problem.cotangent)
    white = torch.ones((*views.shape[:2], 4), device="cuda")

    def run() -> Any:
        images, _, _ = rasterization(
            *leaves, views, matrices, problem.side, problem.side,
            packed=False, render_mode="RGB+D", backgrounds=white,
        )  # fmt: skip
        return images[..., :3]

    def forward() -> np.ndarray:
        with torch.no_grad():
            images = run()
            torch.cuda.synchronize()
        return images

    def gradient() -> None:
        for leaf in leaves:
            leaf.requires_grad_(True).grad = None
        torch.sum(run() * cotangent).backward()
        torch.cuda.synchronize()

    return Contestant("gsplat", forward, gradient, "everything")


def splax(problem: Problem) -> Contestant:
    """Returns splax's `render`, mapped over scenes and views.

    Raises:
        ImportError: if it is not installed.
    """
    import splax as library  # ty: ignore (optional)

    gaussians = problem.gaussians
    opacities = jnp.clip(jnp.asarray(gaussians.opacities), 1e-6, 1.0 - 1e-6)
    leaves = (
        jnp.asarray(gaussians.means),
        jnp.log(jnp.asarray(gaussians.scales)),
        jnp.asarray(gaussians.rotations),
        jnp.asarray(gaussians.sh),
        jnp.log(opacities) - jnp.log1p(-opacities),
    )
    views = world_to_camera(jnp.asarray(problem.cameras.camera_to_world))
    focal = float(np.asarray(problem.cameras.intrinsics)[0, 0, 0]) * problem.side
    white, cotangent = jnp.ones(3), jnp.asarray(problem.cotangent)

    def one(*arguments: Any) -> Any:
        return library.render(
            *arguments[:-1],
            viewmat=arguments[-1],
            background=white,
            img_shape=(problem.side, problem.side),
            f=(focal, focal),
        )[0]

    every = jax.vmap(jax.vmap(one, in_axes=(None,) * 5 + (0,)))
    forward = jax.jit(every)
    gradient = jax.jit(jax.grad(lambda leaves: jnp.sum(every(*leaves, views) * cotangent)))
    return Contestant(
        "splax",
        lambda: jax.block_until_ready(forward(*leaves, views)),
        lambda: jax.block_until_ready(gradient(leaves)),
        "everything",
    )


def _sorted_projection(problem: Problem, scene: int, view: int) -> list[np.ndarray]:
    """Returns means, conics, opacities, colours and extents of the visible Gaussians, front to back."""
    means, rotations, scales, opacities, sh = (jnp.asarray(leaf[scene]) for leaf in problem.gaussians)
    camera = Cameras(*(jnp.asarray(leaf[scene, view]) for leaf in problem.cameras))
    projection = project(
        means,
        covariances(rotations, scales),
        opacities,
        camera,
        height=problem.side,
        width=problem.side,
    )
    colors = sh_to_color(sh, means, jnp.asarray(camera.camera_to_world)[:3, 3])
    depths = np.where(projection.is_visible, projection.depths, np.inf)
    order = np.argsort(depths, kind="stable")[: int(np.sum(np.asarray(projection.is_visible)))]
    fields = (projection.means, projection.conics, projection.opacities, colors, projection.extents)
    return [np.ascontiguousarray(np.asarray(field, np.float32)[order]) for field in fields]


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)
