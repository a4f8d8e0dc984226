"""Published Open-DiffusionGS checkpoints as the family interface imports them."""

import dataclasses
import re
from typing import Any

import numpy as np

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.models.diffusion_gs.published import MAPPING, import_open_diffusiongs
from diffgs_jax.models.diffusion_gs.published_files import PUBLISHED_RIG, read_camera_template, read_open_diffusiongs
from diffgs_jax.models.importing import ImportedModel, ImportOptions, PublishedWeights, refuse_other_options

_SAMPLING: dict[str, Any] = {"sampler": "ddpm", "steps": 30, "foreground_ratio": 0.825, "filter": 0.0}
# Other transformers have blocks called `transformer` too
_TELLING = {theirs.split(".")[0] for theirs, _, _ in MAPPING} - {"transformer"}


def recognizes(source: PublishedWeights) -> bool:
    """Tells whether these look like an Open-DiffusionGS checkpoint: a torch file, or its names after any prefix."""
    if source.tensors is None:
        return True
    return source.path.is_file() and any(_TELLING.intersection(name.split(".")) for name in source.tensors)


def import_published(source: PublishedWeights, options: ImportOptions) -> ImportedModel:
    """Returns a published model of objects or scenes, with the published cameras and sampler.

    Raises:
        UserError: if a path or an option is wrong.
        DataError: if the file cannot be used.
    """
    refuse_other_options(options, {"domain", "resolution", "cameras", "prefix", "head_dim"}, source.path)
    if options.resolution is not None and options.resolution < 1:
        raise UserError(f"the resolution is 1 pixel or more, not {options.resolution}")
    rig = PUBLISHED_RIG if options.cameras is None else read_camera_template(options.cameras)
    published = read_open_diffusiongs(source.path, prefix=options.prefix)
    try:
        config, weights = import_open_diffusiongs(published.tensors, domain=options.domain, head_dim=options.head_dim)
    except DataError as error:
        raise DataError(f"{source.path}: {error}") from None
    domain = config.network.domains[0]
    if domain == "scene" and options.cameras is not None:
        raise UserError("--cameras are an object model's; a scene is seen from cameras of its own")
    attention = "cudnn" if options.dtype == "bfloat16" else "xla"
    network = dataclasses.replace(config.network, dtype=options.dtype, attention=attention)
    in_name = re.findall(r"(?<!\d)(?:256|512)(?!\d)", source.path.name)
    resolution = options.resolution or int(in_name[-1] if in_name else 256)
    if resolution % network.patch_size:
        raise UserError(f"data.resolution {resolution} must be a multiple of the patches' {network.patch_size} pixels")

    def read(path: tuple[str, ...]) -> np.ndarray:
        leaf: Any = weights
        for name in path:
            leaf = leaf[name]
        return leaf

    return ImportedModel(
        dataclasses.replace(config, network=network),
        weights,
        read,
        f"{domain} model of {network.layers} layers of width {network.width} from {published.prefix}* "
        f"({published.others} other tensors left out), {resolution} pixels",
        {"resolution": resolution, "scene_frame": "mean_camera"},
        _SAMPLING,
        rig,
    )
