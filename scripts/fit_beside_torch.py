"""Fits one object twice with the same descent: by this library, and by a rasterizer of PyTorch on the CPU.

    python scripts/fit_beside_torch.py prepare --data data/furniture_128 --record BlendSwap-CC-0/chair --out beside
    TORCH_PYTHON scripts/fit_beside_torch.py torch --out beside --rasterizer torch_tiles.py
    python scripts/fit_beside_torch.py score --out beside

`prepare` writes the problem (first Gaussians, pictures on white, cameras, order of the pictures) and fits it here: L1
alone, harmonics of degree 0, Adam at the rates of `optimize fit`, no growth. `torch` does the same by a Python file
with `render(means, quats, scales, opacities, colors, view, K, side)`, K and the picture in pixels; it needs NumPy and
PyTorch alone. `score` renders both at the held-out cameras with this library and prints PSNR on the box and processor
seconds.
"""

import argparse
import importlib.util
import json
import pathlib
import time
from typing import Any

import numpy as np

_ORDER = ("means", "log_scales", "rotations", "logits", "sh_dc")
_BAND_0 = 0.28209479177387814


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(dest="mode", required=True)
    first, second, third = (modes.add_parser(name) for name in ("prepare", "torch", "score"))
    for one in (first, second, third):
        one.add_argument("--out", type=pathlib.Path, required=True)
    first.add_argument("--data", type=pathlib.Path, required=True)
    first.add_argument("--record", required=True)
    first.add_argument("--resolution", type=int, default=64)
    first.add_argument("--gaussians", type=int, default=2000)
    first.add_argument("--steps", type=int, default=500)
    second.add_argument("--rasterizer", type=pathlib.Path, required=True)
    second.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    {"prepare": prepare, "torch": fit_by_torch, "score": score}[options.mode](options)


def prepare(options: argparse.Namespace) -> None:
    """Writes the problem and fits it with this library."""
    import jax.numpy as jnp

    from diffgs_jax import optimization
    from diffgs_jax.commands.fit_inputs import read_inputs
    from diffgs_jax.commands.fit_options import FitOptions
    from diffgs_jax.data.images import composite
    from diffgs_jax.files import make_folder
    from diffgs_jax.geometry import world_to_camera
    from diffgs_jax.inference import use_compile_cache
    from diffgs_jax.optimization import LossWeights
    from diffgs_jax.optimization.descent import RUN, means_rates, turns

    use_compile_cache()
    chosen = FitOptions(
        data=options.data,
        record=options.record,
        out=options.out,
        resolution=options.resolution,
        steps=options.steps,
        capacity=options.gaussians,
        start_count=options.gaussians,
        growth="none",
        sh_degree=0,
        random_background=False,
        loss=LossWeights(ssim=0.0, depth=0.0),
    ).checked()
    config, inputs = chosen.config, read_inputs(chosen)
    extent = optimization.scene_extent(inputs.fitted.cameras)
    slots = optimization.from_gaussians(optimization.initial_gaussians(inputs.fitted, config), config.capacity, 0)
    runs = range(0, config.steps, RUN)
    held_out = inputs.held_out
    assert held_out is not None
    make_folder(options.out)
    problem: dict[str, Any] = {name: np.asarray(getattr(slots[0], name)) for name in _ORDER}
    problem |= {
        "images": composite(np.asarray(inputs.fitted.pixels), 1.0)[0],
        "views": np.asarray(world_to_camera(jnp.asarray(inputs.fitted.cameras.camera_to_world))),
        "intrinsics": np.asarray(inputs.fitted.cameras.intrinsics),
        "order": np.concatenate([turns(start, 1, len(inputs.fitted.pixels), config.seed)[:, 0] for start in runs]),
        "means_rates": np.concatenate([means_rates(start, config, extent) for start in runs]),
        "rates": [config.rates.scales, config.rates.rotations, config.rates.opacities, config.rates.colors],
        "steps": config.steps,
        "held_out": np.asarray(held_out.pixels),
        "held_out_poses": np.asarray(held_out.cameras.camera_to_world),
        "held_out_intrinsics": np.asarray(held_out.cameras.intrinsics),
    }
    np.savez(options.out / "problem.npz", **problem)
    state = optimization.initial_state(*slots)
    *_, _ = optimization.fit(inputs.fitted, state, config)  # compiles, so that the clock counts steps
    began, worked = time.perf_counter(), time.process_time()
    *_, last = optimization.fit(inputs.fitted, state, config)
    told = {"seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - worked}
    fitted: dict[str, Any] = {name: np.asarray(getattr(last.state.parameters, name)) for name in _ORDER}
    np.savez(options.out / "library.npz", **fitted, told=json.dumps(told))


def fit_by_torch(options: argparse.Namespace) -> None:
    """Fits the problem with PyTorch."""
    import torch  # ty: ignore (optional)

    torch.set_num_threads(options.threads)
    spec = importlib.util.spec_from_file_location("peer", options.rasterizer)
    assert spec is not None and spec.loader is not None
    peer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(peer)
    with np.load(options.out / "problem.npz") as file:
        problem = dict(file)
    leaves = [torch.tensor(problem[name], requires_grad=True) for name in _ORDER]
    means, log_scales, rotations, logits, sh = leaves
    rates = [0.0, *problem["rates"].tolist()]
    groups = [{"params": [leaf], "lr": rate} for leaf, rate in zip(leaves, rates, strict=True)]
    adam = torch.optim.Adam(groups, betas=(0.9, 0.999), eps=1e-15)
    images, views = torch.tensor(problem["images"]), torch.tensor(problem["views"], dtype=torch.float32)
    side = images.shape[1]
    began, worked = time.perf_counter(), time.process_time()
    for step in range(int(problem["steps"])):
        adam.param_groups[0]["lr"] = float(problem["means_rates"][step])
        view = int(problem["order"][step])
        lens = tuple(side * float(value) for value in problem["intrinsics"][view])
        colors = (0.5 + _BAND_0 * sh[:, 0]).clamp_min(0)
        seen = peer.render(means, rotations, log_scales.exp(), logits.sigmoid(), colors, views[view], lens, side)
        adam.zero_grad()
        (seen - images[view]).abs().mean().backward()
        adam.step()
    told = {"seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - worked}
    fitted: dict[str, Any] = {name: leaf.detach().numpy() for name, leaf in zip(_ORDER, leaves, strict=True)}
    np.savez(options.out / "torch.npz", **fitted, told=json.dumps(told))


def score(options: argparse.Namespace) -> None:
    """Prints how both do on the pictures that were held out."""
    import jax.numpy as jnp

    from diffgs_jax.commands.fit_inputs import FitInputs
    from diffgs_jax.commands.fit_outputs import score as scored
    from diffgs_jax.geometry import Cameras
    from diffgs_jax.optimization import Parameters, PosedImages, to_gaussians

    with np.load(options.out / "problem.npz") as file:
        cameras = Cameras(file["held_out_poses"], file["held_out_intrinsics"])
        images = PosedImages(file["held_out"], cameras)
    for name in ("library", "torch"):
        with np.load(options.out / f"{name}.npz") as file:
            leaves = {leaf: jnp.asarray(file[leaf]) for leaf in _ORDER}
            told = json.loads(str(file["told"]))
        count = len(leaves["logits"])
        parameters = Parameters(**leaves, sh_rest=jnp.zeros((count, 0, 3)))
        splat = to_gaussians(parameters, jnp.ones(count, bool))
        found = scored(splat, FitInputs(name, images, None, [], True, ""))["fitted"]
        print(f"{name}: {found['bbox_psnr']:.2f} dB on held-out boxes, {told}")


if __name__ == "__main__":
    main()
