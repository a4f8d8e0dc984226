"""What networks are conditioned on, put together from what text encoders make of a prompt.

Stable Diffusion 1.5 and 2.1 take CLIP's `last`, PixArt T5's tokens with their mask; these two need more than one.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffgs_jax.models.layers.text_encoders.clip import CLIPText


def sdxl_embeddings(first: CLIPText, second: CLIPText) -> tuple[Float[Array, "b n width"], Float[Array, "b pooled"]]:
    """Returns tokens and pooled text of Stable Diffusion XL (Podell et al. 2023, section 2.1).

    Args:
        first: of ViT-L.
        second: of ViT-bigG, with its projection.

    Raises:
        ValueError: if the second has no projection.
    """
    if second.projected is None:
        raise ValueError("the second encoder has no projection")
    return jnp.concatenate([first.hidden[-2], second.hidden[-2]], axis=-1), second.projected


def sd3_embeddings(
    first: CLIPText, second: CLIPText, t5: Float[Array, "b m t5"] | None, *, t5_width: int = 4096
) -> tuple[Float[Array, "b tokens t5"], Float[Array, "b pooled"]]:
    """Returns tokens and pooled text of Stable Diffusion 3 (Esser et al. 2024, section 4).

    Args:
        first: of ViT-L, with its projection.
        second: of ViT-bigG, with its projection.
        t5: of the T5 encoder, without a mask. None leaves it out: then as many zeros stand for it as CLIP has tokens
            (77, and not the 256 that T5 would have), as the published pipeline does.
        t5_width: features of its tokens; read off them where there are any.

    Raises:
        ValueError: if one of both has no projection.
    """
    if first.projected is None:
        raise ValueError("the first encoder has no projection")
    tokens, pooled = sdxl_embeddings(first, second)
    t5 = jnp.zeros((*tokens.shape[:2], t5_width), tokens.dtype) if t5 is None else t5
    padded = jnp.pad(tokens, ((0, 0), (0, 0), (0, t5.shape[-1] - tokens.shape[-1])))
    return jnp.concatenate([padded, t5.astype(tokens.dtype)], axis=1), jnp.concatenate([first.projected, pooled], -1)
