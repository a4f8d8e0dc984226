"""Networks that compare pictures with texts: CLIP, and ImageReward's BLIP. They score; nothing here is trained."""

from diffgs_jax.models.layers.vision_language.config import BLIPTextConfig, PictureTowerConfig, RewardConfig
from diffgs_jax.models.layers.vision_language.pictures import (
    PictureFeatures,
    encode_pictures,
    prepare_pictures,
    tower_shapes,
)
from diffgs_jax.models.layers.vision_language.published import CLIPScorer, RewardScorer, load_clip_scorer, load_reward
from diffgs_jax.models.layers.vision_language.reward import reward_of, reward_shapes

__all__ = [
    "BLIPTextConfig",
    "CLIPScorer",
    "PictureFeatures",
    "PictureTowerConfig",
    "RewardConfig",
    "RewardScorer",
    "encode_pictures",
    "load_clip_scorer",
    "load_reward",
    "prepare_pictures",
    "reward_of",
    "reward_shapes",
    "tower_shapes",
]
