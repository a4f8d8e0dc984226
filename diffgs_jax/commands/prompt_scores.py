"""What `evaluate.py --prompts` does: splats of prompts, scored by networks that compare pictures with texts."""

import functools
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from diffgs_jax import evaluation
from diffgs_jax.commands.sample_jobs import read_prompts
from diffgs_jax.errors import UserError
from diffgs_jax.files import arrays_sha256, file_sha256, write_json, write_text
from diffgs_jax.inference import InputOptions, Pipeline, SamplingOptions
from diffgs_jax.interop import tile_images, write_image
from diffgs_jax.models.layers.text_encoders import encode_clip, tokenize
from diffgs_jax.models.layers.vision_language import (
    CLIPScorer,
    RewardScorer,
    encode_pictures,
    load_clip_scorer,
    load_reward,
    prepare_pictures,
    reward_of,
)

_DRAWN = 64


class PromptNetworks(NamedTuple):
    """Folders of the networks that score; None for those that do not.

    Attributes:
        clip: a CLIP model.
        reward: ImageReward.
    """

    clip: pathlib.Path | None
    reward: pathlib.Path | None


def score_prompts(
    pipeline: Pipeline,
    prompts: pathlib.Path,
    networks: PromptNetworks,
    sampling: SamplingOptions,
    folder: pathlib.Path,
) -> str:
    """Fills a folder with `evaluation.md`, `evaluation.json` and `grid.png`, a row of views for each prompt.

    Each prompt's splat is seen by the cameras that it is made of; scores are means over prompts, then mean and standard
    deviation over the views.

    Args:
        pipeline: of a model that makes splats of prompts.
        prompts: a text file with one prompt a line.
        networks: that score.
        sampling: how to sample.
        folder: is there.

    Returns:
        The table.

    Raises:
        UserError: if the model knows no prompts, no network is named, or a file cannot be read.
        DataError: if a file is damaged or holds something else.
    """
    needs = pipeline.requirements
    if needs.prompt == "none" or needs.makes != "gaussians" or needs.condition_views[0]:
        raise UserError("this model makes no splats of prompts alone: leave --prompts out")
    if networks == PromptNetworks(None, None):
        raise UserError("nothing would be scored: name a network with --clip or --image-reward")
    lines = read_prompts(prompts)
    clip = None if networks.clip is None else load_clip_scorer(networks.clip)
    reward = None if networks.reward is None else load_reward(networks.reward)
    pipeline.check(InputOptions(prompt=lines[0]), sampling, has_image=False)
    made = []
    for prompt in tqdm(lines, unit="prompt"):
        views = pipeline(inputs=InputOptions(prompt=prompt), sampling=sampling).views
        assert views is not None
        made.append(np.asarray(views.images)[0])
    images = np.stack(made)
    scores: dict[str, Float[np.ndarray, "v"]] = {}
    if clip is not None:
        found = evaluation.clip_scores(*_clip_features(clip, images, lines))
        scores |= {"CLIP similarity, %": found.similarity, "R-precision, %": found.precision}
    if reward is not None:
        scores["ImageReward"] = _rewards(reward, images, lines)
    settings: dict[str, Any] = {
        "prompts": f"{len(lines)} of {prompts.name}, {file_sha256(prompts)[:16]}",
        "weights": arrays_sha256(pipeline.params)[:16],
        "views": images.shape[1],
        "resolution": images.shape[2],
        "seed": sampling.seed,
        "R-precision by chance, %": round(100 / len(lines), 2),
    }
    if clip is not None:
        settings["CLIP"] = arrays_sha256([clip.text_params, clip.picture_params])[:16]
    if reward is not None:
        settings["ImageReward"] = arrays_sha256(reward.params)[:16]
    means = {name: {"mean": float(one.mean()), "deviation": float(one.std())} for name, one in scores.items()}
    write_json(folder / "evaluation.json", {"means": means, "views": _lists(scores), "settings": settings})
    table = _table(means, settings)
    write_text(folder / "evaluation.md", table)
    write_image(folder / "grid.png", tile_images(images[:_DRAWN]))
    return table


def _clip_features(clip: CLIPScorer, images: np.ndarray, prompts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the features of every view and every prompt."""
    tokens = tokenize(clip.tokenizer, prompts, clip.text.positions)
    texts = jax.jit(encode_clip, static_argnums=0)(clip.text, clip.text_params, tokens.ids).projected

    @jax.jit
    def look(params: Any, views: Any) -> Any:
        return encode_pictures(clip.picture, params, prepare_pictures(views, clip.picture.size)).projected

    return np.stack([np.asarray(look(clip.picture_params, views)) for views in images]), np.asarray(texts)


def _rewards(reward: RewardScorer, images: np.ndarray, prompts: list[str]) -> Float[np.ndarray, "v"]:
    """Returns the mean reward of each view."""
    tokens = tokenize(reward.tokenizer, prompts, reward.length)
    rate = jax.jit(functools.partial(reward_of, reward.config))
    found = []
    for views, ids, mask in zip(images, tokens.ids, tokens.mask, strict=True):
        shown = prepare_pictures(views, reward.config.picture.size)
        repeated = [np.broadcast_to(one, (len(views), len(one))) for one in (ids, mask)]
        found.append(np.asarray(rate(reward.params, shown, *repeated)))
    return np.stack(found).mean(axis=0)


def _lists(scores: dict[str, np.ndarray]) -> dict[str, list[float]]:
    return {name: [float(value) for value in values] for name, values in scores.items()}


def _table(means: dict[str, dict[str, float]], settings: dict[str, Any]) -> str:
    lines = ["| | mean | deviation over views |", "|---|---:|---:|"]
    lines += [f"| {name} | {one['mean']:.3f} | {one['deviation']:.3f} |" for name, one in means.items()]
    return "\n".join([*lines, "", *(f"- {name}: {value}" for name, value in settings.items())]) + "\n"
