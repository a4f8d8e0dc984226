"""Scores of a run on the way: mean metrics of held-out objects, one view in and all the others out."""

from collections.abc import Callable

from diffgs_jax import evaluation
from diffgs_jax.config import TrainConfig, background_of
from diffgs_jax.data import open_store
from diffgs_jax.diffusion import make_sampler, starting_later
from diffgs_jax.geometry import denoised_cameras
from diffgs_jax.inference.rigs import RECONSTRUCT, rig_beside
from diffgs_jax.models import Diffuses, Frozen, Params, family
from diffgs_jax.training import gather


def make_run_scorer(config: TrainConfig, frozen: Frozen) -> Callable[[Params], dict[str, float]]:
    """Returns the function from weights to scores, named `test/…`.

    Args:
        config: of the run; of several sources the first is scored.
        frozen: weights that the model uses beside its own.

    Raises:
        UserError: if there is no test split, or the model makes no Gaussians.
        DataError: if it cannot be read.
    """
    data, run, module = config.data, config.run, family(config.model)
    background = background_of(config)
    store = open_store(data.sources[0][0] if data.sources else data.path, "test")
    chosen = range(min(run.evaluate_objects, len(store)))
    needs = module.requirements(config.model)
    shown = max(1, needs.condition_views[0])
    is_turned = data.object_frame == "first_view"
    objects = evaluation.load_objects(
        store, data.resolution, chosen, background=background, shown_views=shown, turned=is_turned
    )
    protocol = evaluation.ProtocolConfig(background=background)
    sampler = None
    if isinstance(module, Diffuses):
        sampler = make_sampler(module.schedule(config.model), "ddim", run.preview_steps)
    is_remade = needs.remakes and needs.condition_views[1] == 0
    if is_remade and sampler is not None:
        sampler = starting_later(sampler, RECONSTRUCT)
    given = [360.0 * view / shown for view in range(shown)]
    rig = denoised_cameras(rig_beside(config, given, 0 if is_remade else None))
    predictor = evaluation.make_predictor(
        config.model, frozen, sampler, rig, data.resolution, protocol, remade=is_remade
    )

    def score(weights: Params) -> dict[str, float]:
        found = evaluation.evaluate_model(predictor, gather(weights), objects, protocol)
        return {f"test/{name}": value for name, value in evaluation.mean_scores(found.scores).items()}

    return score
