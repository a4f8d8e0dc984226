"""From noise to what a family makes: the loop of a sampler as one compiled program, which can be watched and stopped.

The program takes the steps from `start` to `stop`, both of them numbers that it is given. So whoever only wants the
result calls it once, whoever wants to see a progress bar, keep what was predicted on the way, or stop early calls it
once a step, and both get the same numbers from the same machine code. It holds no call back into Python, which JAX
could not keep on disk. Tables are padded and have all columns, so it serves any number of steps of any sampler.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, Key

from diffgs_jax.diffusion import (
    Denoise,
    Prediction,
    Sampler,
    SamplerState,
    classifier_free_guidance,
    classifier_guidance,
    first_noise,
    initial_state,
    padded,
    take_steps,
)
from diffgs_jax.models.bundles import (
    Classifier,
    Frozen,
    ModelConfig,
    Params,
    Progress,
    Request,
    Sampling,
)
from diffgs_jax.models.family import (
    family,
)


def generate(
    config: ModelConfig, params: Params, frozen: Frozen, request: Request, sampling: Sampling, keys: Key[Array, "b"]
) -> Iterator[Progress]:
    """Samples a family that `Diffuses`; this is the `generate` of every one of them.

    Args:
        config: the model's settings.
        params: its weights.
        frozen: weights that are used and not trained.
        request: b things to generate.
        sampling: how; it has a sampler.
        keys: `[b]`; each is of the first noise of one thing, and of the noise that some samplers add on the way. So a
            thing is the same whatever it is generated together with.

    Yields:
        How far it is, every `sampling.stride` steps.

    Raises:
        ValueError: if there is no sampler.
    """
    if sampling.sampler is None:
        raise ValueError("sampling by diffusion needs a sampler")
    module = family(config)
    steps = len(sampling.sampler.timesteps)
    table = padded(sampling.sampler)
    shape = module.state_shape(config, request)
    # Put where the weights are, as what the program returns will be: or its second call would compile again.
    x = previous = jax.device_put(np.zeros(shape, np.float32), _place_of(params))
    stride = steps if sampling.stride is None else sampling.stride
    for start in range(0, steps, stride):
        stop = min(start + stride, steps)
        bounds = np.asarray([start, stop], np.int32)
        guides = sampling.guidance, sampling.classifier
        state = _advance(
            config,
            sampling.views_at_once,
            params,
            frozen,
            request,
            table,
            keys,
            guides,
            sampling.start,
            x,
            previous,
            bounds,
        )
        x, previous = state.x, state.prediction.x0
        if stop == steps or sampling.watch:
            # Where the last step lands, which with published settings need not be the prediction itself
            clean = state.x if stop == steps else state.prediction.x0
            generated = module.decode(config, params, frozen, request, clean, state.prediction.aux)
            noisy = module.decode(config, params, frozen, request, state.x, None) if sampling.watch else None
            yield Progress(stop, steps, generated, noisy)
        else:
            yield Progress(stop, steps)


def _place_of(params: Params) -> Any:
    """Returns where the weights are; None where they are still on the host."""
    return next((leaf.sharding for leaf in jax.tree.leaves(params) if isinstance(leaf, jax.Array)), None)


@partial(jax.jit, static_argnums=(0, 1))
def _advance(
    config: Any,
    views_at_once: int,
    params: Params,
    frozen: Frozen,
    request: Request,
    table: Sampler,
    keys: Key[Array, "b"],
    guides: tuple[Float[Array, "..."] | None, Classifier | None],
    start: Float[Array, "b *state"] | None,
    x: Float[Array, "b *state"],
    previous: Float[Array, "b *state"],
    bounds: Int32[Array, "2"],
) -> SamplerState:
    """Takes steps `bounds[0]` to `bounds[1]`; x and the prediction before them are read unless they are the first."""
    first = table.start * first_noise(keys, x.shape[1:])
    if start is not None:
        first = first + jnp.asarray(table.alpha)[0] * start
    x = jnp.where(bounds[0] == 0, first, x)
    guidance, classifier = guides
    denoise = make_denoiser(config, params, frozen, request, guidance, classifier, views_at_once=views_at_once)
    begin = initial_state(denoise, table, x)
    begin = begin._replace(prediction=Prediction(previous, begin.prediction.aux))
    return take_steps(denoise, table, keys, begin, bounds[0], bounds[1])


def make_denoiser(
    config: ModelConfig,
    params: Params,
    frozen: Frozen,
    request: Request,
    guidance: float | Float[Array | np.ndarray, "..."] | None = None,
    classifier: Classifier | None = None,
    *,
    views_at_once: int = 0,
) -> Denoise:
    """Returns the denoiser of a request, guided if asked for: what samplers, guidance and score distillation call.

    Args:
        config: of a family that `Diffuses`.
        params: its weights.
        frozen: weights that are used and not trained.
        request: what is asked for.
        guidance: scale of classifier-free guidance; None leaves the unconditional branch out.
        classifier: of noisy arrays, which pushes towards the request's labels; None for none.
        views_at_once: views rendered together; 0 renders all at once.
    """
    module = family(config)

    def of(condition: Any) -> Denoise:
        return module.denoiser(config, params, frozen, condition, views_at_once=views_at_once)

    denoise = of(module.condition(config, params, frozen, request))
    if guidance is not None:
        unconditional = of(module.null_condition(config, params, frozen, request))
        denoise = classifier_free_guidance(denoise, unconditional, jnp.asarray(guidance))
    if classifier is None:
        return denoise
    if request.labels is None:
        raise ValueError("a classifier pushes towards labels, and the request has none")
    log_probability = family(classifier.config).log_probability(
        classifier.config, classifier.params, classifier.frozen, request.labels
    )
    return classifier_guidance(denoise, log_probability, module.schedule(config), jnp.asarray(classifier.scale))
