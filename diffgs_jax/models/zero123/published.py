"""Published Zero-1-to-3: the training code's `.ckpt`, and folders in the layout of diffusers.

Both become the same three state dicts, by the names of diffusers and transformers: the U-Net's, the projection's and
CLIP's. The autoencoder is that of Stable Diffusion 1, imported by itself.
"""

import dataclasses
import math
import re
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import shown
from diffgs_jax.geometry import ObjectRig
from diffgs_jax.models.importing import (
    ImportedModel,
    ImportOptions,
    PublishedWeights,
    refuse_other_options,
    tensor_reader,
)
from diffgs_jax.models.layers.clip_vision import CLIP_VISION_NAMES
from diffgs_jax.models.layers.clip_vision_config import CLIPVisionConfig
from diffgs_jax.models.layers.latent_unet.compvis import as_diffusers, compvis_unet_config
from diffgs_jax.models.layers.latent_unet.published import UNET_NAMES, latent_unet_config
from diffgs_jax.models.zero123.config import Zero123Config
from diffgs_jax.models.zero123.network import param_shapes
from diffgs_jax.weights import Naming, Tensors, load_torch, tensors_of
from diffgs_jax.weights.adapting import Adapted, adapt, below

_FOV = 49.1
"""Of the published training views, degrees."""
_RADIUS_SCALE = 0.5
"""Published cameras are 1.5 to 2.2 from objects of unit size; here the bounding sphere has radius 1. Own choice."""
_UNET, _CLIP, _PROJECTION = "model.diffusion_model.", "cond_stage_model.model.visual.", "cc_projection."
_FOLDERS = ("clip_camera_projection/", "cc_projection/")
_LIBRARIES = ("pytorch_lightning", "lightning", "omegaconf", "torch", "numpy")
_HEAD_DIM = 64  # of CLIP in all sizes
_RESOLUTION = 256
_PROJECTION_NAMES = Naming(((r"^projection$", "projection"),))


def recognizes(source: PublishedWeights) -> bool:
    """Tells whether these are Zero-1-to-3's: a torch file with its projection, or a folder with that of diffusers."""
    if source.tensors is not None:
        return any(name.startswith(_FOLDERS) for name in source.tensors)
    # What is no archive of torch.save may be weights of others, whose reader says what is wrong with it
    is_archive = source.path.is_file() and zipfile.is_zipfile(source.path)
    return is_archive and f"{_PROJECTION}weight" in state_dict(source).shapes


def import_published(source: PublishedWeights, options: ImportOptions) -> ImportedModel:
    """Returns the published model, with its U-Net, projection and CLIP read one tensor after the other.

    Raises:
        UserError: if an option is wrong, or says nothing of these weights.
        DataError: if the weights are others, listing everything that is wrong with them.
    """
    refuse_other_options(options, {"image_vae", "head_dim"}, source.path)
    if not options.image_vae:
        raise UserError(
            "Zero-1-to-3 diffuses latents of Stable Diffusion's autoencoder: import that (its folder vae) and name it "
            "with --image-vae"
        )
    if source.tensors is None:
        tensors = state_dict(source)
        unet = as_diffusers(below(tensors, _UNET))
        unet_config = compvis_unet_config(unet.shapes)
        clip = _of_transformers(below(tensors, _CLIP))
        projection = _renamed_projection(below(tensors, _PROJECTION))
    else:
        unet = below(source.tensors, "unet/")
        unet_config = latent_unet_config(_described(source, "unet"))
        clip = below(source.tensors, "image_encoder/")
        folder = next(name for name in _FOLDERS if any(one.startswith(name) for one in source.tensors))
        projection = _renamed_projection(below(source.tensors, folder))
    clip = _flattened(clip)
    config = Zero123Config(
        unet=dataclasses.replace(
            unet_config, dtype=options.dtype, attention="cudnn" if options.dtype == "bfloat16" else "xla"
        ),
        clip=dataclasses.replace(_clip_config(clip.shapes, options.head_dim), dtype=options.dtype),
        autoencoder=options.image_vae,
        channels=unet_config.outputs,
        radius_scale=_RADIUS_SCALE,
    )
    if unet_config.inputs != 2 * unet_config.outputs:
        raise DataError(
            f"{shown(source.path)}: its U-Net reads {unet_config.inputs} channels, and Zero-1-to-3's reads twice the "
            f"{unet_config.outputs} that it predicts"
        )
    shapes = param_shapes(config)
    readers = {
        "unet": tensor_reader(shapes["unet"], UNET_NAMES, unet),
        "projection": tensor_reader({"projection": shapes["projection"]}, _PROJECTION_NAMES, projection),
        "image_encoder": tensor_reader(shapes["image_encoder"], CLIP_VISION_NAMES, clip),
    }

    def read(path: tuple[str, ...]) -> np.ndarray:
        part = path[0]
        return readers[part](path if part == "projection" else path[1:])

    return ImportedModel(
        config,
        shapes,
        read,
        f"Zero-1-to-3 with a U-Net of {unet_config.channels[0]} channels, told of {config.clip.projection} features "
        f"and the camera, from {shown(source.path)}",
        {"resolution": _RESOLUTION, "condition_views": 1, "noisy_views": 1, "novel_views": 0},
        {"sampler": "ddim", "steps": 75, "guidance": (3.0,)},
        ObjectRig(fov=_FOV),
    )


def state_dict(source: PublishedWeights) -> Tensors:
    """Returns the tensors of a torch file, whatever a training library left beside them."""
    loaded = load_torch(source.path, mapped=True, leave_out=_LIBRARIES)
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    found = loaded if isinstance(loaded, dict) else {}
    return tensors_of({name: a for name, a in found.items() if isinstance(a, np.ndarray)}, shown(source.path))


def _described(source: PublishedWeights, part: str) -> Mapping[str, Any]:
    found = source.described.get(part)
    if not isinstance(found, Mapping):
        raise DataError(f"{shown(source.path)} has no {part}/config.json")
    return found


def _renamed_projection(tensors: Tensors) -> Tensors:
    """Returns the projection's two tensors by one name, whatever the file calls the layer."""
    changes = {
        f"projection.{kind}": Adapted((name,), shape, _same)
        for name, shape in tensors.shapes.items()
        if (kind := name.split(".")[-1]) in ("weight", "bias")
    }
    return adapt(tensors, changes)


def _of_transformers(tensors: Tensors) -> Tensors:
    """Returns the state dict of OpenAI's vision transformer as transformers' `CLIPVisionModelWithProjection` has it."""
    names = {
        "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "class_embedding": "vision_model.embeddings.class_embedding",
        "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    }
    pieces = (
        (r"^ln_pre\.", "vision_model.pre_layrnorm."),
        (r"^ln_post\.", "vision_model.post_layernorm."),
        (r"^transformer\.resblocks\.", "vision_model.encoder.layers."),
        (r"\.ln_(\d)\.", r".layer_norm\1."),
        (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
        (r"\.mlp\.c_fc\.", ".mlp.fc1."),
        (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    )
    changes: dict[str, Adapted] = {}
    for name, shape in tensors.shapes.items():
        if match := re.fullmatch(r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)", name):
            for number, letter in enumerate("qkv"):
                renamed = f"vision_model.encoder.layers.{match[1]}.self_attn.{letter}_proj.{match[2]}"
                changes[renamed] = Adapted((name,), (shape[0] // 3, *shape[1:]), _third(number))
        elif name == "proj":
            changes["visual_projection.weight"] = Adapted((name,), shape[::-1], np.transpose)
        else:
            renamed = names.get(name, name)
            for pattern, replacement in pieces:
                renamed = re.sub(pattern, replacement, renamed)
            changes[renamed] = Adapted((name,), shape, _same)
    return adapt(tensors, changes)


def _flattened(tensors: Tensors) -> Tensors:
    """Returns CLIP's state dict with the patches' convolution as a product, and the class token as a table's row."""
    patches, token = (f"vision_model.embeddings.{name}" for name in ("patch_embedding.weight", "class_embedding"))
    changes = {}
    if len(shape := tensors.shapes.get(patches, ())) == 4:
        flat = (shape[0], math.prod(shape[1:]))
        changes[patches] = Adapted((patches,), flat, lambda a: a.transpose(0, 2, 3, 1).reshape(len(a), -1))
    if len(shape := tensors.shapes.get(token, ())) == 1:
        changes[f"{token}.weight"] = Adapted((token,), (1, *shape), lambda a: a[None])
    return adapt(tensors, changes)


def _clip_config(shapes: Mapping[str, tuple[int, ...]], head_dim: int) -> CLIPVisionConfig:
    """Reads settings off the shapes; what is missing or odd is taken as published."""
    usual = CLIPVisionConfig()

    def size(name: str, axis: int, published: int) -> int:
        shape = shapes.get(name, ())
        return max(shape[axis], 1) if axis < len(shape) else published

    table = "vision_model.embeddings"
    width = size(f"{table}.class_embedding.weight", 1, usual.width)
    patch = max(math.isqrt(size(f"{table}.patch_embedding.weight", 1, 3 * usual.patch_size**2) // 3), 1)
    places = size(f"{table}.position_embedding.weight", 0, 257)
    numbers = [
        int(match[1]) for name in shapes if (match := re.match(r"vision_model\.encoder\.layers\.(\d{1,3})\.", name))
    ]
    if head_dim < 1 or width % head_dim:
        raise UserError(f"heads of {head_dim} features do not divide the width {width} of CLIP: see --head-dim")
    return CLIPVisionConfig(
        resolution=max(math.isqrt(places - 1), 1) * patch,
        patch_size=patch,
        width=width,
        hidden=size("vision_model.encoder.layers.0.mlp.fc1.weight", 0, usual.hidden),
        layers=max(numbers, default=usual.layers - 1) + 1,
        heads=width // head_dim,
        projection=size("visual_projection.weight", 0, usual.projection),
    )


def _third(number: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: np.split(array, 3)[number]


def _same(array: np.ndarray) -> np.ndarray:
    return array
