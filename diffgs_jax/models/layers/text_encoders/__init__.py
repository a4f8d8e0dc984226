"""Text encoders and tokenizers of published image models."""

from diffgs_jax.models.layers.text_encoders.captions import clean_caption
from diffgs_jax.models.layers.text_encoders.clip import CLIPText, clip_shapes, encode_clip, init_clip
from diffgs_jax.models.layers.text_encoders.config import CLIPTextConfig, T5Config
from diffgs_jax.models.layers.text_encoders.folders import PromptEmbeddings, PromptKind, encode_prompts, prompt_kind
from diffgs_jax.models.layers.text_encoders.prompts import sd3_embeddings, sdxl_embeddings
from diffgs_jax.models.layers.text_encoders.published import (
    CLIP_NAMES,
    T5_NAMES,
    clip_config,
    load_clip,
    load_t5,
    t5_config,
)
from diffgs_jax.models.layers.text_encoders.streaming import encode_t5_folder
from diffgs_jax.models.layers.text_encoders.t5 import (
    apply_t5_block,
    distance_buckets,
    encode_t5,
    finish_t5,
    start_t5,
    t5_shapes,
)
from diffgs_jax.models.layers.text_encoders.tokenizers import (
    CLIP_LENGTH,
    TextTokens,
    Tokenizer,
    load_tokenizer,
    tokenize,
)

__all__ = [
    "CLIP_LENGTH",
    "CLIP_NAMES",
    "T5_NAMES",
    "CLIPText",
    "CLIPTextConfig",
    "PromptEmbeddings",
    "PromptKind",
    "T5Config",
    "TextTokens",
    "Tokenizer",
    "apply_t5_block",
    "clean_caption",
    "clip_config",
    "clip_shapes",
    "distance_buckets",
    "encode_clip",
    "encode_prompts",
    "encode_t5",
    "encode_t5_folder",
    "finish_t5",
    "init_clip",
    "load_clip",
    "load_t5",
    "load_tokenizer",
    "prompt_kind",
    "sd3_embeddings",
    "sdxl_embeddings",
    "start_t5",
    "t5_config",
    "t5_shapes",
    "tokenize",
]
