"""Weights of other programs, read without running anything that their files say."""

from diffgs_jax.weights.hub import model_folder
from diffgs_jax.weights.naming import Naming, nested, read_params, write_params
from diffgs_jax.weights.tensors import Tensors, open_tensors, tensors_of
from diffgs_jax.weights.torch_file import LeftOut, load_torch

__all__ = [
    "LeftOut",
    "Naming",
    "Tensors",
    "load_torch",
    "model_folder",
    "nested",
    "open_tensors",
    "read_params",
    "tensors_of",
    "write_params",
]
