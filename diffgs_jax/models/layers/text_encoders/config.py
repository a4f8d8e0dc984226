"""Settings of text encoders. Nothing here imports JAX."""

import dataclasses
from typing import Literal

Activation = Literal["quick_gelu", "gelu"]
"""`quick_gelu` is x · σ(1.702 x), as the first CLIP was trained; `gelu` is exact."""


@dataclasses.dataclass(frozen=True)
class CLIPTextConfig:
    """The text half of CLIP (Radford et al. 2021); the defaults are those of ViT-L/14.

    Attributes:
        vocabulary: how many tokens there are.
        width: features of a token.
        hidden: features inside the MLP.
        layers: transformer blocks.
        heads: of attention.
        positions: the longest text, in tokens, its two ends included.
        activation: of the MLP.
        projection: features of the pooled text behind its projection; 0 where there is no projection.
        end_token: the token whose first place in a text is pooled; None pools at the largest id, where the end is in
            CLIP's own vocabulary.
        dtype: of matrix products; norms and softmax are float32.
    """

    vocabulary: int = 49408
    width: int = 768
    hidden: int = 3072
    layers: int = 12
    heads: int = 12
    positions: int = 77
    activation: Activation = "quick_gelu"
    projection: int = 0
    end_token: int | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"


@dataclasses.dataclass(frozen=True)
class T5Config:
    """The encoder of T5 1.1 (Raffel et al. 2020; Shazeer 2020 for its MLP); the defaults are those of XXL.

    Attributes:
        vocabulary: how many tokens there are.
        width: features of a token.
        head_width: features of an attention head; heads · head_width need not be the width.
        hidden: features inside the MLP.
        layers: transformer blocks.
        heads: of attention.
        buckets: of distances between tokens, half of them for each direction.
        max_distance: beyond which all distances share a bucket.
        dtype: of matrix products; norms and softmax are float32.
    """

    vocabulary: int = 32128
    width: int = 4096
    head_width: int = 64
    hidden: int = 10240
    layers: int = 24
    heads: int = 64
    buckets: int = 32
    max_distance: int = 128
    dtype: Literal["float32", "bfloat16"] = "float32"
