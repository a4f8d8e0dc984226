"""Objects and scenes in one run: each has its decoder, and both losses fall."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from diffgs_jax import models, training
from diffgs_jax.config import apply_overrides, load_config
from diffgs_jax.data import training_batches
from diffgs_jax.geometry import OBJECT, SCENE

STEPS = 80


@pytest.mark.long
def test_both_losses_fall_and_each_domain_moves_its_own_decoder(request):
    root = request.config.rootpath
    config = apply_overrides(
        load_config(root / "configs" / "diffusion_gs" / "mixed_64.py"),
        [
            *("--model.network.width", "64", "--model.network.layers", "2", "--model.losses.distance-warmup", "8"),
            *("--data.resolution", "16", "--data.batch-size", "4", "--optimizer.learning-rate", "3e-3"),
            *("--data.sources", str(root / "assets" / "furniture_cc0"), "1", str(root / "assets" / "rooms_cc0"), "1"),
        ],
    )
    module = models.family(config.model)
    optimizer = training.make_optimizer(config.optimizer, STEPS, module.is_hidden_matrix)
    state = training.init_state(module.init(config.model, jax.random.key(0)), optimizer)
    loss = functools.partial(module.loss, config.model)
    step = training.make_train_step(loss, optimizer, config.optimizer, seed=0)

    # Batches of one kind, always the same noise: what is compared before and after.
    compared = {}
    for domain, (path, share) in zip((OBJECT, SCENE), config.data.sources, strict=True):
        alone = dataclasses.replace(config.data, sources=((path, share),), batch_size=4)
        compared[domain] = next(training_batches(alone))
        assert set(np.asarray(compared[domain].inputs.domain)) == {domain}
    graded = jax.jit(
        jax.value_and_grad(lambda params, batch: loss(params, {}, batch, jax.random.key(1), jax.numpy.int32(1000))[0])
    )

    before = {}
    for domain, name, other in ((OBJECT, "object", "scene"), (SCENE, "scene", "object")):
        before[domain], gradient = graded(state.params, compared[domain])
        assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient["decoders"][other]))
        assert any((leaf != 0).any() for leaf in jax.tree.leaves(gradient["decoders"][name]))

    batches = training_batches(config.data)
    domains = set()
    for _ in range(STEPS):
        batch = next(batches)
        domains |= set(np.asarray(batch.inputs.domain).tolist())
        state, _ = step(state, {}, batch)
    assert domains == {OBJECT, SCENE}
    for domain, value in before.items():
        after = graded(state.params, compared[domain])[0]
        assert after < 0.8 * value, f"domain {domain}: {value} → {after}"
