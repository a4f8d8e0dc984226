"""Weights of other programs, read without running anything that their files say."""

from diffgs_jax.weights.torch_file import LeftOut, load_torch

__all__ = ["LeftOut", "load_torch"]
