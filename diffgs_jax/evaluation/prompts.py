"""How well pictures suit the texts that they were made of: similarity and R-precision, by DiffSplat's protocol."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class PromptScores(NamedTuple):
    """Scores of views of splats, each the mean over splats; one number for each view.

    Attributes:
        similarity: cosine of a view's CLIP features and its text's, in percent.
        precision: of the views whose nearest text is their own, in percent.
    """

    similarity: Float[np.ndarray, "v"]
    precision: Float[np.ndarray, "v"]


def clip_scores(pictures: Float[np.ndarray, "n v d"], texts: Float[np.ndarray, "n d"]) -> PromptScores:
    """Returns CLIP's similarity and R-precision (Park et al. 2021; Poole et al. 2023, section 4).

    Args:
        pictures: features of each text's views.
        texts: features of the texts. The precision of n texts that are all wrong is 100 / n by chance.
    """
    pictures = pictures / np.linalg.norm(pictures, axis=-1, keepdims=True)
    texts = texts / np.linalg.norm(texts, axis=-1, keepdims=True)
    cosines = np.einsum("nvd,md->nvm", pictures, texts)
    own = np.arange(len(texts))
    similarity = 100 * cosines[own, :, own]
    precision = 100.0 * (cosines.argmax(axis=-1) == own[:, None])
    return PromptScores(similarity.mean(axis=0), precision.mean(axis=0))
