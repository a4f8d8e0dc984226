"""What passes between a model family and everything else: weights, batches, requests, results, and what is known of it.

Plain data, whatever the family. `family.py` has the functions that take and return it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int32

from diffgs_jax.diffusion import Sampler
from diffgs_jax.geometry import Cameras, Gaussians, Views
from diffgs_jax.rasterizer import Backend, RenderSettings

Params = dict[str, Any]
"""Nested dictionaries of arrays: what is trained, averaged, saved and sharded."""

Frozen = dict[str, Any]
"""Weights that are used and not trained, by name."""

Metrics = dict[str, Array]
"""Scalars by name, for the log."""

Purpose = Literal["training", "sampling"]
"""What frozen weights are loaded for; previews are drawn with those of training, which contain those of sampling."""

MapName = Literal["depth", "normals"]
"""Maps that a record may hold beside its images."""


@runtime_checkable
class ModelConfig(Protocol):
    """The settings of a family: an instance of a frozen, hashable dataclass, so that `jit` can take it as static."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


# Bundles of arrays


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Control:
    """A trained network that steers a generation by a picture of the first view (a ControlNet), and how hard.

    Attributes:
        config: its settings, of a family that `Controls`.
        params: its weights.
        picture: `[b, h, w, 3]` in [0, 1].
        scale: of all it adds.
        times: `[2]` the first and last of the timesteps, by value, at which it adds anything.
        guess: let what is finer count less, and steer the guided half alone.
    """

    config: ModelConfig = dataclasses.field(metadata={"static": True})
    params: Params
    picture: Float[Array | np.ndarray, "b h w 3"]
    scale: Float[Array | np.ndarray, ""]
    times: Float[Array | np.ndarray, "2"]
    guess: bool = dataclasses.field(default=False, metadata={"static": True})


class Text(NamedTuple):
    """Words as a family's tokenizer gives them.

    Attributes:
        tokens: `[b, n]`, padded.
        mask: `[b, n]`, True where there is a token.
    """

    tokens: Int32[Array | np.ndarray, "b n"]
    mask: Bool[Array | np.ndarray, "b n"]


class Batch(NamedTuple):
    """What one training step reads: samples of posed views, each of one object or scene.

    Attributes:
        inputs: `[b, v]`, the views a network may read, all clean here: condition views (`is_condition`) and others. An
            object's world is turned about z so that the first condition view has azimuth 0; a scene's is brought into
            the frame of `data/scene_frame.py`.
        targets: `[b, s]`, further views of the same objects, for supervision only; `is_condition` is False. None if
            there are none.
        record: `[b]`, the index of the record in its split, counted through all sources.
        text: the captions, if the family asked for them.
        labels: `[b]` classes, −1 where there is none, if the family asked for them.
        latents: `[b, v, h, w, c]` of the inputs, where they were computed before.
        gaussians: `[b, n, 14]` fitted to the records (`models/gaussian_sets.py`), NaN in slots that are not used, if
            the family asked for them.
    """

    inputs: Views
    targets: Views | None
    record: Int32[Array | np.ndarray, "b"]
    text: Text | None = None
    labels: Int32[Array | np.ndarray, "b"] | None = None
    latents: Float[Array | np.ndarray, "b v h w c"] | None = None
    gaussians: Float[Array | np.ndarray, "b n 14"] | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Request:
    """What a model is asked to generate, as arrays.

    Attributes:
        resolution: height and width of the images to generate, pixels.
        condition: `[b, n]` clean posed views that are given, in the frame the model was trained in; None for none.
        cameras: `[b, v]` of the views to generate; None for families that need none.
        domain: `[b]`, `OBJECT` or `SCENE`.
        text: the prompts.
        negative_text: what to stay away from.
        controls: networks that steer it, each by a picture.
        mask: `[b, n, h, w]`, True where a given view is to be made anew. With one, the given views are no conditions:
            they are generated like the others, but for what is False.
        labels: `[b]` classes, −1 for none.
    """

    resolution: int = dataclasses.field(metadata={"static": True})
    domain: Int32[Array | np.ndarray, "b"]
    condition: Views | None = None
    cameras: Cameras | None = None
    text: Text | None = None
    negative_text: Text | None = None
    controls: tuple[Control, ...] = ()
    mask: Bool[Array | np.ndarray, "b n h w"] | None = None
    labels: Int32[Array | np.ndarray, "b"] | None = None


class Generated(NamedTuple):
    """What a model generated; what a family does not make is None.

    Attributes:
        gaussians: `[b, n]`, in the frame of the request.
        views: `[b, v]`: the given views (`is_condition`), then the generated ones.
        images: `[b, h, w, 3]` in [0, 1], images without a pose.
    """

    gaussians: Gaussians | None = None
    views: Views | None = None
    images: Float[Array | np.ndarray, "b h w 3"] | None = None


class Progress(NamedTuple):
    """How far a generation is.

    Attributes:
        done: steps done.
        total: all steps.
        generated: what is predicted now; at the last step always, before it where `Sampling.watch` is set.
        noisy: what the sampler is at, decoded like `generated`, under the same condition; None where there is none.
    """

    done: int
    total: int
    generated: Generated | None = None
    noisy: Generated | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Classifier:
    """A trained classifier of noisy arrays, which pushes what is generated towards the request's labels.

    Attributes:
        config: its settings, of a family that `Guides`.
        params: its weights.
        frozen: weights that it uses and does not train.
        scale: of its guidance, broadcast against the state; 1 is p(x_0 | label).
    """

    config: ModelConfig = dataclasses.field(metadata={"static": True})
    params: Params
    frozen: Frozen
    scale: Float[Array | np.ndarray, "..."]


class Sampling(NamedTuple):
    """How something is generated.

    Attributes:
        sampler: the steps; None for families that take none.
        guidance: scale of classifier-free guidance, broadcast against the state; None leaves the unconditional branch
            out.
        classifier: of noisy arrays, whose guidance comes on top; None for none.
        stride: steps between two `Progress`; all of them by default.
        watch: decode at every `Progress`.
        views_at_once: views rendered together, which bounds memory; 0 renders all at once.
        start: `[b, *state]` clean array to which the first noise is added, for samplers that begin with some signal
            left (`starting_later`); None starts from noise alone.
    """

    sampler: Sampler | None = None
    guidance: Float[np.ndarray, "..."] | None = None
    classifier: Classifier | None = None
    stride: int | None = None
    watch: bool = False
    views_at_once: int = 0
    start: Float[Array | np.ndarray, "b *state"] | None = None


# What is known of a family without its weights


@dataclasses.dataclass(frozen=True)
class Requirements:
    """What a family needs of data and of a request, and what it makes of it.

    Attributes:
        makes: what comes out; `views` are images of cameras, without Gaussians that they show.
        image_multiple: the sides of images are multiples of this, pixels.
        background: grey level in [0, 1] that images must be on; None if any will do.
        maps: of records, read in training.
        tokenize: from captions to their tokens, equally many for every caption and every call, with the mask of those
            that are no padding; called from several threads. A record without a caption has "". None for families
            without text.
        labels: whether classes of records are read in training.
        latents: whether training can do with latents that were computed before.
        gaussians: most Gaussians of the sets fitted to records that are read in training; 0 for none.
        condition_views: least and most posed views that a request gives.
        prompt: whether a request has a prompt.
        cameras: whether a request names cameras of the views to generate.
        domains: what can be generated.
        guided: whether classifier-free guidance means something.
        views_apart: whether every view that is generated is made without looking at the others, from any camera.
        given_are_made: whether the given views are made anew with the others, so that guidance is theirs too.
        remakes: whether given views can be made anew, from their own noisy pictures or under a mask.
        backend: who renders the Gaussians that it makes (`diffgs_jax.rasterizer.Backend`).
        rendering: how they are rendered.
        seeded: whether another seed gives another result.
        upright: whether posed views must be those of upright cameras that look at the object's centre.
    """

    makes: Literal["gaussians", "views", "images", "nothing"]
    image_multiple: int = 1
    background: float | None = None
    maps: tuple[MapName, ...] = ()
    tokenize: Callable[[Sequence[str]], Text] | None = None
    labels: bool = False
    latents: bool = False
    gaussians: int = 0
    condition_views: tuple[int, int] = (0, 0)
    prompt: Literal["none", "optional", "required"] = "none"
    cameras: bool = False
    domains: tuple[Literal["object", "scene"], ...] = ("object",)
    guided: bool = False
    views_apart: bool = False
    given_are_made: bool = False
    remakes: bool = False
    backend: Backend = "auto"
    rendering: RenderSettings = RenderSettings()
    seeded: bool = True
    upright: bool = False


class Cost(NamedTuple):
    """What a network costs, for one sample.

    Attributes:
        parameters: of the whole network.
        forward_flops: multiplications and additions of the matrix products, forward; rendering is not in it. With its
            gradient a sample takes three times as many.
        activation_bytes: what is kept for the backward pass.
        counts: what a sample consists of, by name, for people: `{"tokens": 257, "Gaussians": 16386}`.
    """

    parameters: int
    forward_flops: float
    activation_bytes: int
    counts: dict[str, int]


@runtime_checkable
class DataSettings(Protocol):
    """What families read of `data.DataConfig`, which lies above them."""

    @property
    def resolution(self) -> int:
        """Height and width of the views, pixels."""
        ...

    @property
    def background(self) -> float:
        """Grey level in [0, 1] under transparent pixels."""
        ...

    @property
    def condition_views(self) -> int:
        """Clean views in a sample."""
        ...

    @property
    def fewest_condition_views(self) -> int | None:
        """Least clean views in a sample, where their number differs; None where all have `condition_views`."""
        ...

    @property
    def noisy_views(self) -> int:
        """Other views in a sample that a network may read."""
        ...

    @property
    def novel_views(self) -> int:
        """Views in a sample that only supervise."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""
        ...


def request_of(batch: Batch) -> Request:
    """Returns what a model would be asked to generate the other input views of a batch from its condition views.

    Args:
        batch: every sample has as many condition views as the first, at any position.
    """
    inputs = batch.inputs
    is_condition = np.asarray(inputs.is_condition)
    order = np.argsort(~is_condition, axis=1, kind="stable")
    count = int(is_condition[0].sum())

    def take(leaf: Any, part: slice) -> Any:
        chosen = order[:, part]
        return jax.numpy.take_along_axis(
            jax.numpy.asarray(leaf), chosen.reshape(*chosen.shape, *(1,) * (leaf.ndim - 2)), axis=1
        )

    def cameras(part: slice) -> Cameras:
        return Cameras(*(take(leaf, part) for leaf in inputs.cameras))

    given = slice(0, count)
    maps = {name: getattr(inputs, name) for name in ("alphas", "depths", "normals")}
    condition = Views(
        take(inputs.images, given),
        cameras(given),
        take(inputs.is_condition, given),
        jax.numpy.asarray(inputs.domain),
        **{name: None if values is None else take(values, given) for name, values in maps.items()},
    )
    return Request(
        resolution=inputs.images.shape[2],
        domain=jax.numpy.asarray(inputs.domain),
        condition=condition if count else None,
        cameras=cameras(slice(count, None)),
        text=batch.text,
        labels=batch.labels,
    )
