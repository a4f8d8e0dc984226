from .autoencoder import CodecDecoder, CodecEncoder, CodecSettings, TinyDecoder
from .dit import Block, ScaleNorm, layer_norm, modulate
from .embeddings import TimeFeatures, TimestepEmbedding, fourier_embedding, sinusoidal_embedding
from .initialization import Initializers, draw_uniform, initializers, uniform_bounds
from .llama import LlamaBlock, LlamaTrunk, swiglu_width
from .patches import patchify, unpatchify
from .resnet import AttentionBlock, BlockSettings, Downsample, ResNetBlock, Upsample
from .trunk import RematKeeps, Trunk
from .unet import UNet, UNetBlock
from .vision_transformer import ExactMLP, VisionTransformer, resize_positions

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
