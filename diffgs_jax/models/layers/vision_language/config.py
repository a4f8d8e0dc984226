"""Settings of networks that compare pictures with texts. Nothing here imports JAX."""

import dataclasses

from diffgs_jax.models.layers.text_encoders.config import Activation


@dataclasses.dataclass(frozen=True)
class PictureTowerConfig:
    """A vision transformer (Dosovitskiy et al. 2021); the defaults are those of CLIP's ViT-B/32.

    Attributes:
        size: height and width of pictures, pixels.
        patch_size: side of a patch, pixels.
        width: features of a token.
        hidden: features inside the MLP.
        layers: transformer blocks.
        heads: of attention.
        activation: of the MLP.
        epsilon: of the norms.
        first_norm: whether tokens are normalised ahead of the first block (CLIP), and patches have no bias.
        projection: features of the picture behind its projection; 0 where there is none.
    """

    size: int = 224
    patch_size: int = 32
    width: int = 768
    hidden: int = 3072
    layers: int = 12
    heads: int = 12
    activation: Activation = "quick_gelu"
    epsilon: float = 1e-5
    first_norm: bool = True
    projection: int = 512


@dataclasses.dataclass(frozen=True)
class BLIPTextConfig:
    """BERT whose blocks look at a picture too (Li et al. 2022, BLIP, section 3.1); the defaults are the published ones.

    Attributes:
        vocabulary: how many tokens there are.
        positions: the longest text, in tokens.
        width: features of a token.
        hidden: features inside the MLP.
        layers: transformer blocks.
        heads: of attention.
        picture_width: features of a token of the picture.
    """

    vocabulary: int = 30524
    positions: int = 512
    width: int = 768
    hidden: int = 3072
    layers: int = 12
    heads: int = 12
    picture_width: int = 1024


@dataclasses.dataclass(frozen=True)
class RewardConfig:
    """ImageReward (Xu et al. 2023): BLIP's two halves, and layers that make a number of a text's first token.

    Attributes:
        picture: the half that looks at pictures, by default ViT-L/16.
        text: the half that reads, and looks at the picture's tokens.
        head: features between the layers of the head.
        mean: of the head's numbers, which is taken off them.
        deviation: of them, by which they are divided.
    """

    picture: PictureTowerConfig = PictureTowerConfig(
        patch_size=16,
        width=1024,
        hidden=4096,
        layers=24,
        heads=16,
        activation="gelu",
        epsilon=1e-6,
        first_norm=False,
        projection=0,
    )
    text: BLIPTextConfig = BLIPTextConfig()
    head: tuple[int, ...] = (1024, 128, 64, 16)
    mean: float = 0.1671775
    deviation: float = 1.0333
