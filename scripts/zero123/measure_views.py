"""Measures a Zero-1-to-3: other views of held-out objects, beside the given view copied.

    python scripts/zero123/measure_views.py --checkpoint runs/zero123_32 --data data/furniture_128 --out scores

Every test object gives one view, by `diffgs_jax.evaluate`'s protocol, and up to `--max-views` others are made and
compared, on the object's box too. LPIPS needs `scripts/fetch_lpips.py`; pictures too small for it are enlarged to 64.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from diffgs_jax import evaluation
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.data import open_store
from diffgs_jax.diffusion import SamplerKind
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.evaluation import Cases, ViewImages
from diffgs_jax.files import make_folder, write_json, write_text
from diffgs_jax.inference import Pipeline, SamplingOptions, load, use_compile_cache
from diffgs_jax.interop import tile_images, write_image
from diffgs_jax.models import Sampling, family
from diffgs_jax.models.losses import LPIPSNetwork, LPIPSWeights
from diffgs_jax.models.losses.lpips_weights import load_lpips

_SHOWN = 0.02  # how far from the background a pixel is that shows something
_SMALLEST = 64  # pixels, for LPIPS
_DRAWN = 4  # views of an object in the picture


@dataclasses.dataclass(frozen=True)
class Options:
    """What is measured."""

    checkpoint: pathlib.Path
    """Of the model."""
    data: pathlib.Path
    """Record store; its test objects are used."""
    out: pathlib.Path
    """Folder for the table."""
    max_objects: int = 20
    """Objects, spread evenly over the test split."""
    max_views: int = 8
    """Views of each that are made."""
    guidance: float = 1.0
    """Scale of classifier-free guidance."""
    steps: int = 25
    """Of the sampler."""
    sampler: SamplerKind = "ddim"
    """The sampler."""
    seed: int = 0
    """Of the noise."""


def main(options: Options) -> None:
    """Makes the views and writes the table."""
    use_compile_cache()
    pipeline = load(options.checkpoint)
    if pipeline.requirements.makes != "views":
        raise UserError(f"{options.checkpoint} makes no views: see diffgs_jax.evaluate")
    side = pipeline.config.data.resolution
    store = open_store(options.data, "test")
    chosen = evaluation.spread(len(store), options.max_objects)
    objects = evaluation.load_objects(store, side, chosen, max_views=options.max_views)
    protocol = evaluation.ProtocolConfig(batch_size=1, seed=options.seed)
    painters = {"Zero-1-to-3": _painter(pipeline, options), "the given view": _copied}
    rows, drawn = {}, []
    for name, paint in painters.items():
        with tqdm(desc=name, total=len(objects), unit="object") as bar:
            found = evaluation.evaluate_views(paint, objects, protocol, bar.update)
        rows[name] = evaluation.mean_scores(found.scores) | _lpips(objects, found.predictions)
        drawn.append(found.predictions)
    make_folder(options.out)
    write_json(options.out / "views.json", {"steps": options.steps, "guidance": options.guidance, "rows": rows})
    names = [name for name in next(iter(rows.values())) if all(name in row for row in rows.values())]
    lines = [f"| {' | '.join(['', *names])} |", f"|---|{'---:|' * len(names)}"]
    lines += [f"| {' | '.join([name, *(f'{row[one]:.3f}' for one in names)])} |" for name, row in rows.items()]
    write_text(options.out / "views.md", "\n".join(lines) + "\n")
    print("\n".join(lines))
    grid = []
    for item, made in zip(objects[:8], drawn[0], strict=False):
        true = item.images[item.asked][:_DRAWN]
        grid.append(np.concatenate([item.images[item.condition][None], true, made[:_DRAWN] / 255]))
    write_image(options.out / "views.png", tile_images(np.stack(grid)))


def _painter(pipeline: Pipeline, options: Options) -> Callable[[Cases], ViewImages]:
    """Returns what makes the target views of cases."""
    model, module = pipeline.config.model, family(pipeline.config.model)
    sampler = pipeline.sampler(SamplingOptions(steps=options.steps, sampler=options.sampler))
    guidance = None if options.guidance == 1 else np.asarray(options.guidance, np.float32)

    def paint(cases: Cases) -> ViewImages:
        count = cases.target_cameras.intrinsics.shape[1]
        request = evaluation.request_views(
            cases.condition_images, cases.condition_cameras, cases.target_cameras, pipeline.config.data.resolution
        )
        keys = jnp.stack([jax.random.key(options.seed)] * len(cases.condition_images))
        *_, last = module.generate(
            model, pipeline.params, pipeline.frozen, request, Sampling(sampler, guidance=guidance), keys
        )
        images = last.generated.views.images[:, -count:]
        return ViewImages(images, _coverage(images))

    return paint


def _copied(cases: Cases) -> ViewImages:
    given = ViewImages(cases.condition_images, cases.condition_alphas)
    return evaluation.copied_view(given, cases.target_images.shape[1])


def _coverage(images: jax.Array) -> jax.Array:
    """Returns 1 where an image on white shows something."""
    return (jnp.max(1 - images, axis=-1) > _SHOWN).astype(jnp.float32)


def _lpips(objects: Sequence[evaluation.PosedObject], predictions: Sequence[np.ndarray]) -> dict[str, float]:
    """Returns the mean LPIPS (AlexNet) of pictures and of boxes, enlarged where they are too small."""
    if "alex" not in evaluation.usable_lpips(_SMALLEST):
        print("LPIPS is left out: its weights are not installed (python scripts/fetch_lpips.py)")
        return {}
    networks: dict[LPIPSNetwork, LPIPSWeights] = {"alex": load_lpips("alex")}
    found: list[dict[str, float]] = []
    for item, views in zip(objects, predictions, strict=True):
        target, alpha = item.images[item.asked], item.alphas[item.asked]
        large = max(_SMALLEST, target.shape[1])
        shape = (len(target), large, large)
        made, true = (jax.image.resize(jnp.asarray(one), (*shape, 3), "linear") for one in (views / 255, target))
        cover = jax.image.resize(jnp.asarray(alpha), shape, "linear")
        scores = evaluation.perceptual_scores(networks, made, true, cover).scores
        found.append({name: float(np.mean(np.asarray(value))) for name, value in scores.items()})
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


if __name__ == "__main__":
    with report_errors():
        main(parse_options(Options, description=__doc__))
