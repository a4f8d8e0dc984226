"""Pieces of transformers and U-Nets that model families share."""

from diffgs_jax.models.layers.autoencoder import CodecDecoder, CodecEncoder, CodecSettings, TinyDecoder
from diffgs_jax.models.layers.dit import Block, ScaleNorm, layer_norm, modulate
from diffgs_jax.models.layers.embeddings import TimeFeatures, TimestepEmbedding, fourier_embedding, sinusoidal_embedding
from diffgs_jax.models.layers.initialization import Initializers, draw_uniform, initializers, uniform_bounds
from diffgs_jax.models.layers.llama import LlamaBlock, LlamaTrunk, swiglu_width
from diffgs_jax.models.layers.patches import patchify, unpatchify
from diffgs_jax.models.layers.resnet import AttentionBlock, BlockSettings, Downsample, ResNetBlock, Upsample
from diffgs_jax.models.layers.trunk import RematKeeps, Trunk
from diffgs_jax.models.layers.unet import UNet, UNetBlock
from diffgs_jax.models.layers.vision_transformer import ExactMLP, VisionTransformer, resize_positions

__all__ = [
    "CodecDecoder",
    "CodecEncoder",
    "CodecSettings",
    "TinyDecoder",
    "ExactMLP",
    "VisionTransformer",
    "resize_positions",
    "draw_uniform",
    "uniform_bounds",
    "UNetBlock",
    "UNet",
    "Upsample",
    "ResNetBlock",
    "Downsample",
    "BlockSettings",
    "AttentionBlock",
    "Block",
    "Initializers",
    "LlamaBlock",
    "LlamaTrunk",
    "RematKeeps",
    "ScaleNorm",
    "TimestepEmbedding",
    "Trunk",
    "initializers",
    "layer_norm",
    "modulate",
    "patchify",
    "sinusoidal_embedding",
    "fourier_embedding",
    "TimeFeatures",
    "swiglu_width",
    "unpatchify",
]
