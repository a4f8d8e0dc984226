"""How well a ControlNet is obeyed: the picture it is shown beside the same picture of what it makes.

    python scripts/controlnet/measure_control.py --checkpoint runs/tiny/controlnet

Of objects that nothing was trained on, splats are made of their captions with the ControlNet and without it, from the
same noise. Printed is the mean difference between the control picture (depth, normals or edges) and that of the splat,
over the pixels where either shows the object; and, as what could be reached, that of another object's picture.
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from diffgs_jax.checkpoints import load_weights, read_metadata
from diffgs_jax.config import from_dict
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import training_batches
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.geometry import Cameras
from diffgs_jax.inference import Pipeline, SamplingOptions
from diffgs_jax.models import Control, family
from diffgs_jax.models.bundles import request_of
from diffgs_jax.models.control_pictures import splat_picture
from diffgs_jax.models.controlnet import ControlNetModelConfig


@dataclasses.dataclass(frozen=True)
class MeasureControlConfig:
    """What is measured."""

    checkpoint: pathlib.Path
    """Of the ControlNet; its settings name the denoiser."""
    batches: int = 2
    """Of as many objects as the run's batches have, of the test split."""
    guidance: float = 2.0
    """Scale of classifier-free guidance."""


def main(options: MeasureControlConfig) -> None:
    """Runs the command line."""
    stored = from_dict(read_metadata(options.checkpoint)["config"], str(options.checkpoint))
    model = stored.model
    if not isinstance(model, ControlNetModelConfig):
        raise UserError(f"{options.checkpoint} is no ControlNet")
    module = family(model)
    params = load_weights(options.checkpoint, jax.eval_shape(lambda: module.init(model, jax.random.key(0))))
    frozen = module.load_frozen(model, "training")
    base = frozen["base"]
    steered, settings = family(base.config), from_dict(read_metadata(pathlib.Path(model.base))["config"])
    pipeline = Pipeline(settings, base.params, base.frozen)
    sampling = SamplingOptions(guidance=(options.guidance,))
    batches = training_batches(stored.data, split="test", requirements=module.requirements(model))
    look = jax.jit(
        lambda frozen, views: steered.control_picture(base.config, frozen, views, model.picture, model.source)
    )
    rendering = pipeline.requirements.rendering

    def seen(gaussians, cameras):
        turn = steered.control_turn(base.config, base.frozen, cameras)
        first = Cameras(*(jnp.asarray(leaf)[:, 0] for leaf in cameras))
        return splat_picture(model.picture, gaussians, first, turn, rendering, size=stored.data.resolution)

    errors = {"without": [], "with": [], "another object": []}
    for number in tqdm(range(options.batches), unit="batch", disable=None):
        batch = next(batches)
        picture = np.asarray(look(base.frozen, batch.inputs))
        request = request_of(batch)
        times = np.asarray([np.inf, -np.inf], np.float32)
        control = Control(model, params, picture, np.ones((), np.float32), times)
        seeds = [1000 * number + place for place in range(len(picture))]
        for name, controls in (("without", ()), ("with", (control,))):
            asked = dataclasses.replace(request, controls=controls)
            *_, last = pipeline.generate(asked, seeds, sampling)
            assert last.generated is not None
            found = np.asarray(jax.jit(seen)(last.generated.gaussians, request.cameras))
            errors[name].append(difference(found, picture))
        errors["another object"].append(difference(np.roll(picture, 1, axis=0), picture))
    batches.close()
    for name, values in errors.items():
        print(f"{name:>15}: {np.mean(values):.4f}")


def difference(found: np.ndarray, picture: np.ndarray) -> float:
    """Returns the mean difference where either picture shows something."""
    shows = (np.minimum(found, picture) < 1).any(axis=-1)
    return float(np.abs(found - picture).mean(axis=-1)[shows].mean())


if __name__ == "__main__":
    with report_errors():
        main(parse_options(MeasureControlConfig, description=__doc__))
