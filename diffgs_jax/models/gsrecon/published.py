"""Weights of the published GSRecon (DiffSplat, github.com/chenguolin/DiffSplat) as weights of this family."""

import re
from collections.abc import Collection, Mapping

import numpy as np

from diffgs_jax.errors import DataError
from diffgs_jax.models.bundles import Params
from diffgs_jax.models.gsrecon.config import PUBLISHED_FRAME, GSReconConfig, InputMap, ReconstructorConfig
from diffgs_jax.models.gsrecon.network import param_shapes
from diffgs_jax.weights import Naming, nested, read_params, tensors_of

NAMING = Naming(
    replacements=(
        (r"^trunk\.blocks\.", "transformer.blocks.{i}."),
        (r"^embedding$", "x_embedder"),
        (r"^norm$", "ln_out"),
        (r"^heads\.", "out_"),
    )
)
"""How parameters are called in a published state dict."""

_HEAD_WIDTH = 64  # published; shapes do not tell
_PATCH = 8
_INPUTS: dict[int, tuple[InputMap, ...]] = {
    9: (),
    15: ("normals", "coordinates"),
    17: ("normals", "coordinates", "metallic_roughness"),
}
"""What views show, by the channels of the input; with 12, normals or coordinates, shapes do not tell."""


def recognizes(names: Collection[str]) -> bool:
    """Tells whether a state dict is a GSRecon's, by its names."""
    return "x_embedder.weight" in names and "out_depth.weight" in names


def read_config(shapes: Mapping[str, tuple[int, ...]], *, head_width: int = _HEAD_WIDTH) -> GSReconConfig:
    """Reads settings off the shapes of a published state dict.

    Args:
        shapes: by name.
        head_width: channels of an attention head.

    Raises:
        DataError: if they say too little, or something that no published network has.
    """
    found = [int(match[1]) for name in shapes if (match := re.match(r"transformer\.blocks\.(\d+)\.", name))]
    embedding, first = (shapes.get(name, ()) for name in ("x_embedder.weight", "transformer.blocks.0.mlp.w1.weight"))
    if len(embedding) != 2 or len(first) != 2:
        raise DataError("this is no GSRecon: x_embedder.weight or transformer.blocks.0.mlp.w1.weight is missing")
    width, channels = embedding[0], embedding[1] // _PATCH**2
    if channels not in _INPUTS or head_width < 1 or width % head_width:
        raise DataError(f"no GSRecon is known with {channels} channels of input and {width} features")
    network = ReconstructorConfig(
        width=width,
        layers=len(set(found)),
        heads=width // head_width,
        hidden=first[0],
        patch_size=_PATCH,
        maps=_INPUTS[channels],
        plucker="official",
    )
    return GSReconConfig(network=network, frame=PUBLISHED_FRAME)


def import_gsrecon(tensors: Mapping[str, np.ndarray], *, head_width: int = _HEAD_WIDTH) -> tuple[GSReconConfig, Params]:
    """Turns a published state dict into a config and parameters.

    Args:
        tensors: under their published names.
        head_width: channels of an attention head.

    Raises:
        DataError: naming what is missing, left over or of the wrong shape.
    """
    source = tensors_of(tensors)
    config = read_config(source.shapes, head_width=head_width)
    return config, nested(read_params(param_shapes(config.network), NAMING, source))
