"""Scores a model on objects it never saw: `python -m diffgs_jax.evaluate [--checkpoint DIR] [--data DIR] --out DIR`.

One stored view of each test object is shown to the model; all the others are what it is asked for. The folder receives
`evaluation.md` (tables, baselines beside the model), `evaluation.json` (every object's scores), three images whose
rows are condition | predicted | true: `worst.png`, `best.png` and `grid.png`, and `curves.png`, scores by the angle
from the condition view. Interrupted, the same command goes on where it stopped. With `--index`, the same for scenes by
the published protocol; with `--prompts`, splats of prompts by networks that compare pictures with texts. `--help` lists
every option.
"""

import dataclasses
import pathlib

from diffgs_jax.commands.progress import progress_bar
from diffgs_jax.commands.protocol_options import ProtocolOptions, check_at_least_one
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.diffusion import SamplerKind
from diffgs_jax.errors import UserError, report_errors
from diffgs_jax.files import filled_folder


@dataclasses.dataclass(frozen=True)
class EvaluateOptions(ProtocolOptions):
    """Scores a model on the novel views of objects it never saw."""

    out: pathlib.Path = dataclasses.field(kw_only=True)
    """Folder for tables, numbers and images; created if need be."""
    steps: int | None = None
    """Denoising steps; by default what the model's config says, 30 as a rule."""
    sampler: SamplerKind | None = None
    """`ddim` and `dpm` are deterministic after the first noise; `ddpm` is ancestral, as published. By default what the
    model's config says."""
    one_step: bool = True
    """Score what the model makes of pure noise in a single step, too."""
    twice: bool = True
    """Score the same Gaussians at twice the training resolution, too, without LPIPS; where stored views are that large,
    and for objects only."""
    swap: bool = True
    """Score what the model makes of another object's picture, too; keeps every object's Gaussians in memory."""
    baselines: bool = True
    """Score the condition view copied, the condition view as a billboard, and the mean training view too."""
    training_data: pathlib.Path | None = None
    """Record store whose train split the mean training view is made of; by default that of `data`."""
    mean_view_objects: int = 128
    """Training objects that the mean view is made of, spread evenly over the train split."""
    drawn_objects: int = 20
    """Rows of each image."""
    prompts: pathlib.Path | None = None
    """A text file with one prompt a line: instead of objects, splats of these are scored, by the networks of `clip` and
    `image_reward`."""
    clip: pathlib.Path | None = None
    """With `prompts`: folder of a CLIP model of the transformers library. Scores similarity and R-precision."""
    image_reward: pathlib.Path | None = None
    """With `prompts`: folder with ImageReward.pt and BERT's vocab.txt. Scores ImageReward."""
    samples: int = 500
    """Images to generate, of a model that makes images without a pose: their Fréchet distance to the held-out views is
    scored, beside that of the mean image and of the untrained network, and the training images nearest to them."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    with report_errors():
        evaluate(parse_options(EvaluateOptions, arguments, prog="python -m diffgs_jax.evaluate"))


def evaluate(options: EvaluateOptions) -> None:
    """Runs the protocol that belongs to what the model makes, and fills the folder.

    Raises:
        UserError: if an option is out of range or a path cannot be read or written; before any expensive work.
        DataError: if the data or the checkpoint is not usable.
    """
    # What takes seconds to import comes after the options are known to be good
    check_at_least_one(options, "batch_size", "drawn_objects", "mean_view_objects", "max_objects", "max_views")
    with progress_bar("starting"):
        from diffgs_jax.commands.image_scores import score_images
        from diffgs_jax.commands.view_scores import ViewRows, score_checkpoint
        from diffgs_jax.inference import SamplingOptions, load

    if options.prompts is None and (options.clip or options.image_reward):
        raise UserError("--clip and --image-reward score splats of --prompts: name a file of them")
    training_data = options.training_data or options.data
    sampling = SamplingOptions(steps=options.steps, sampler=options.sampler, seed=options.seed)
    with filled_folder(options.out) as folder:
        with progress_bar("loading the model"):
            pipeline = load(options.checkpoint, backend=options.backend)
        if pipeline.backend is not None:
            print(pipeline.backend, flush=True)
        if options.prompts is not None:
            from diffgs_jax.commands.prompt_scores import PromptNetworks, score_prompts

            networks = PromptNetworks(options.clip, options.image_reward)
            report = score_prompts(pipeline, options.prompts, networks, sampling, folder)
        elif pipeline.requirements.condition_views[1] == 0 and pipeline.requirements.makes == "gaussians":
            raise UserError("this model is shown no view: score splats of prompts with --prompts and --clip")
        elif pipeline.requirements.makes == "images":
            report = score_images(pipeline, options, sampling, options.samples, training_data, folder)
        else:
            rows = ViewRows(
                one_step=options.one_step,
                twice=options.twice,
                swap=options.swap,
                baselines=options.baselines,
                training_data=training_data,
                mean_view_objects=options.mean_view_objects,
                drawn_objects=options.drawn_objects,
            )
            report = score_checkpoint(pipeline, options, sampling, rows, folder, options.out / "unfinished")
    print(report)


if __name__ == "__main__":
    main()
