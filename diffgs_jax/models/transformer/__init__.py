"""Transformer pieces that model families share."""

from diffgs_jax.models.transformer.blocks import Block, ScaleNorm, layer_norm, modulate
from diffgs_jax.models.transformer.embeddings import TimestepEmbedding, sinusoidal_embedding
from diffgs_jax.models.transformer.initialization import Initializers, initializers
from diffgs_jax.models.transformer.patches import patchify, unpatchify
from diffgs_jax.models.transformer.trunk import RematKeeps, Trunk

__all__ = [
    "Block",
    "Initializers",
    "RematKeeps",
    "ScaleNorm",
    "TimestepEmbedding",
    "Trunk",
    "initializers",
    "layer_norm",
    "modulate",
    "patchify",
    "sinusoidal_embedding",
    "unpatchify",
]
