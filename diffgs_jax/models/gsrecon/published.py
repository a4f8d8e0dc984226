"""Weights of the published GSRecon (DiffSplat, github.com/chenguolin/DiffSplat) as weights of this family."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from diffgs_jax.errors import DataError
from diffgs_jax.models.bundles import Params
from diffgs_jax.models.gsrecon.config import PUBLISHED_FRAME, GSReconConfig, InputMap, ReconstructorConfig
from diffgs_jax.models.gsrecon.network import HEADS, param_shapes

_HEAD_WIDTH = 64  # published; shapes do not tell
_PATCH = 8
# Theirs within a block, and ours; kernels are transposed.
_BLOCK = {
    "norm1.weight": "norm1.scale",
    "norm2.weight": "norm2.scale",
    **{f"attn.{name}.weight": f"attn.{name}.kernel" for name in ("wq", "wk", "wv", "wo")},
    **{f"attn.{name}.weight": f"attn.{name}.scale" for name in ("q_norm", "k_norm")},
    **{f"attn.{name}.bias": f"attn.{name}.bias" for name in ("q_norm", "k_norm")},
    **{f"mlp.{name}.weight": f"mlp.{name}.kernel" for name in ("w1", "w2", "w3")},
}
_OUTER = {
    "x_embedder.weight": "embedding.kernel",
    "x_embedder.bias": "embedding.bias",
    "ln_out.weight": "norm.scale",
    "ln_out.bias": "norm.bias",
    **{f"out_{name}.weight": f"heads.{name}.kernel" for name in HEADS},
}
_INPUTS: dict[int, tuple[InputMap, ...]] = {
    9: (),
    15: ("normals", "coordinates"),
    17: ("normals", "coordinates", "metallic_roughness"),
}
"""What views show, by the channels of the input; with 12, normals or coordinates, shapes do not tell."""


def import_gsrecon(tensors: Mapping[str, np.ndarray], *, head_width: int = _HEAD_WIDTH) -> tuple[GSReconConfig, Params]:
    """Turns a published state dict into a config and parameters.

    Args:
        tensors: under their published names.
        head_width: channels of an attention head.

    Raises:
        DataError: naming what is missing, left over or of the wrong shape.
    """
    blocks = sorted({int(found[1]) for name in tensors if (found := re.match(r"transformer\.blocks\.(\d+)\.", name))})
    embedding = tensors.get("x_embedder.weight")
    first = tensors.get("transformer.blocks.0.mlp.w1.weight")
    if embedding is None or first is None or embedding.ndim != 2 or first.ndim != 2:
        raise DataError("this is no GSRecon: x_embedder.weight or transformer.blocks.0.mlp.w1.weight is missing")
    width, channels = embedding.shape[0], embedding.shape[1] // _PATCH**2
    if channels not in _INPUTS or width % head_width:
        raise DataError(f"no GSRecon is known with {channels} channels of input and {width} features")
    network = ReconstructorConfig(
        width=width,
        layers=len(blocks),
        heads=width // head_width,
        hidden=first.shape[0],
        patch_size=_PATCH,
        maps=_INPUTS[channels],
        plucker="official",
    )
    shapes = param_shapes(network)
    left, problems = set(tensors), []

    def take(theirs: str, shape: tuple[int, ...]) -> np.ndarray:
        left.discard(theirs)
        if theirs not in tensors:
            problems.append(f"{theirs} is missing")
            return np.zeros(shape, np.float32)
        array = np.asarray(tensors[theirs], np.float32)
        array = array.T if array.ndim == 2 else array
        if array.shape != shape:
            problems.append(f"{theirs} is {list(tensors[theirs].shape)}")
            return np.zeros(shape, np.float32)
        return array

    params: Params = {}
    for theirs, ours in _OUTER.items():
        _put(params, ours, take(theirs, _get(shapes, ours).shape))
    for theirs, ours in _BLOCK.items():
        shape = _get(shapes, f"trunk.blocks.{ours}").shape[1:]
        layers = [take(f"transformer.blocks.{number}.{theirs}", shape) for number in range(len(blocks))]
        _put(params, f"trunk.blocks.{ours}", np.stack(layers))
    problems += [f"{name} is not known" for name in sorted(left)]
    if problems:
        raise DataError(f"this is no GSRecon: {'; '.join(problems)}")
    return GSReconConfig(network=network, frame=PUBLISHED_FRAME), params


def _get(tree: Any, path: str) -> Any:
    for name in path.split("."):
        tree = tree[name]
    return tree


def _put(tree: dict[str, Any], path: str, leaf: np.ndarray) -> None:
    *folders, name = path.split(".")
    for folder in folders:
        tree = tree.setdefault(folder, {})
    tree[name] = leaf
