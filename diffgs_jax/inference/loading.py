"""From a checkpoint to a pipeline."""

import dataclasses
import functools
import os
from typing import Any

import jax

from diffgs_jax.checkpoints import load_weights, read_metadata
from diffgs_jax.config import TrainConfig, from_dict
from diffgs_jax.errors import UserError
from diffgs_jax.inference.compile_cache import use_compile_cache
from diffgs_jax.inference.hub import BUNDLED_FOLDER, checkpoint_folder
from diffgs_jax.inference.pipeline import Pipeline
from diffgs_jax.models import Renders, family
from diffgs_jax.rasterizer import Backend, check_backend

BUNDLED_CHECKPOINT = BUNDLED_FOLDER / "furniture"
"""The checkpoint that is taken where none is named."""


def load(
    checkpoint: str | os.PathLike[str] | None = None, *, low_memory: bool = False, backend: Backend | None = None
) -> Pipeline:
    """Loads a trained model, and has JAX keep what it compiles on disk (see `compile_cache`).

    Args:
        checkpoint: the folder of a run or of its checkpoints; `bundled:name` for one that comes with the package;
            `hub:owner/name` for a model of the Hugging Face Hub; the package's one-picture model if None.
        low_memory: render one view at a time and, on accelerators, keep and run the network's trunk in bfloat16. On a
            CPU that would cost memory: XLA makes a float32 copy of the weights.
        backend: who renders; what the checkpoint's settings say if None.

    Raises:
        UserError: if there is no checkpoint, it cannot be had from the hub, or the backend is not available here or
            nothing to this model.
        DataError: if it cannot be read, or its weights are not those of its config's architecture.
    """
    named = BUNDLED_CHECKPOINT if checkpoint is None else checkpoint
    folder = checkpoint_folder(named)
    if checkpoint is None and not folder.exists():
        raise UserError("this installation comes without a trained model: name one with --checkpoint")
    use_compile_cache()
    config = _stored_config(read_metadata(folder), str(folder))
    module = family(config.model)
    if backend is not None:
        if not isinstance(module, Renders):
            raise UserError("this model renders no Gaussians: leave --backend out")
        config = dataclasses.replace(config, model=module.with_backend(config.model, backend))
    check_backend(module.requirements(config.model).backend)
    expected = jax.eval_shape(functools.partial(module.init, config.model), jax.random.key(0))
    params = load_weights(folder, expected)
    frozen = module.load_frozen(config.model, "sampling")
    if low_memory and jax.default_backend() != "cpu":
        model, params = module.in_low_memory(config.model, params)
        config = dataclasses.replace(config, model=model)
    return Pipeline(config, params, frozen, views_at_once=1 if low_memory else 0)


def _stored_config(metadata: dict[str, Any], source: str) -> TrainConfig:
    """Returns a checkpoint's config; a model that was imported before there was a filter goes on without one."""
    fields = metadata["config"]
    if "imported_from" in metadata and isinstance(fields, dict) and isinstance(fields.get("sampling"), dict):
        fields = fields | {"sampling": {"filter": 0.0} | fields["sampling"]}
    return from_dict(fields, source)
