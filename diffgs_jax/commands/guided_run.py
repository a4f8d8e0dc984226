"""Refining and distilling, from where they begin to the files they leave."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from diffgs_jax import optimization
from diffgs_jax.commands.fit_outputs import render_images, score
from diffgs_jax.commands.guided_inputs import GuidedInputs, read_guided_inputs, read_start
from diffgs_jax.commands.guided_options import DistilOptions, GuidedOptions, RefineOptions
from diffgs_jax.commands.optimization_run import OptimizedSplat, run_resumably
from diffgs_jax.commands.progress import progress_bar
from diffgs_jax.commands.sample_record import made_with
from diffgs_jax.data.images import composite
from diffgs_jax.errors import UserError
from diffgs_jax.files import arrays_sha256, filled_folder, write_json
from diffgs_jax.geometry import DILATION, Gaussians, ObjectRig, orbit
from diffgs_jax.interop import tile_images, write_gaussians, write_image
from diffgs_jax.meshing import TexturedMesh, bake_texture, check_texture, extract_mesh, write_mesh
from diffgs_jax.optimization import DistilConfig, GuidedConfig, Pulling

_VERSION = 1
_ROUND = 8
"""Views all around that are drawn of the result."""


def refine(options: RefineOptions) -> dict[str, Any]:
    """Refines a splat and fills the folder.

    Returns:
        What `refine.json` says.

    Raises:
        UserError: if an option does not go with the splat, images or models, or the folder cannot be written.
        DataError: if something cannot be read, is not finite or is damaged.
        SystemExit: with code 75, after saving, if the process was asked to stop.
    """
    with progress_bar("reading the splat and its images"):
        start = read_start(options)
        inputs = read_guided_inputs(start.options, options.checkpoints)
    if inputs.images is None:
        raise UserError("there is nothing to match: give --image, --data, or a folder that sample made as --start")
    count = len(start.gaussians.opacities)
    config = dataclasses.replace(options.config, capacity=options.capacity or optimization.roomy(count))
    _check_resolutions(config, inputs)
    slots = optimization.from_gaussians(start.gaussians, config.capacity, config.sh_degree, start.name)
    first = optimization.to_gaussians(*slots)
    pulling = Pulling(inputs.images.fitted, first, inputs.priors)
    with progress_bar("scoring what is there"):
        before = score(first, inputs.images, start.dilation)
    done = _run(start.options, config, slots, pulling, inputs, start.dilation, "refining")
    with progress_bar("scoring and writing"), filled_folder(options.out) as folder:
        after = score(done.slots, inputs.images, start.dilation)
        record = _record(start.options, inputs, done) | {"scores": {"before": before, "after": after}}
        views = _beside(inputs, [first, done.slots], start.dilation)
        write_image(folder / "views.png", views)
        _write(folder, options, done, inputs, start.dilation)
        write_json(folder / "refine.json", record)
    return record


def distil(options: DistilOptions) -> dict[str, Any]:
    """Distils a splat and fills the folder.

    Returns:
        What `distil.json` says.

    Raises:
        UserError: if an option does not go with the images or models, or the folder cannot be written.
        DataError: if something cannot be read, is not finite or is damaged.
        SystemExit: with code 75, after saving, if the process was asked to stop.
    """
    config = options.config
    # A prior without a weight says nothing, and would be asked all the same
    asked = (options.checkpoints or (None,)) if config.prior_weight else ()
    with progress_bar("loading models"):
        inputs = read_guided_inputs(options, asked)
    if inputs.images is None and not inputs.priors:
        raise UserError("--prior-weight 0 leaves nothing to follow: give an image with --image or --data")
    _check_resolutions(config, inputs)
    slots = optimization.from_gaussians(optimization.fog(config), config.capacity, config.sh_degree, "the fog")
    dilation = DILATION if options.dilation is None else options.dilation
    pulling = Pulling(None if inputs.images is None else inputs.images.fitted, None, inputs.priors)
    if config.mesh.steps:
        check_texture(config.mesh.size)
    meshes: list[TexturedMesh] = []

    def make_mesh(done: OptimizedSplat) -> None:
        if config.mesh.steps:
            meshes.append(textured_mesh(done.gaussians, pulling, config, inputs.rig))

    done = _run(options, config, slots, pulling, inputs, dilation, "distilling", make_mesh)
    record = _record(options, inputs, done)
    with progress_bar("scoring and writing"), filled_folder(options.out) as folder:
        if inputs.images is not None:
            record["scores"] = {"after": score(done.slots, inputs.images, dilation)}
            write_image(folder / "views.png", _beside(inputs, [done.slots], dilation))
        _write(folder, options, done, inputs, dilation)
        for mesh in meshes:
            write_mesh(folder / "mesh.glb", mesh)
        write_json(folder / "distil.json", record)
    return record


def _run(
    options: GuidedOptions,
    config: GuidedConfig,
    slots: tuple[Any, Any],
    pulling: Pulling,
    inputs: GuidedInputs,
    dilation: float,
    doing: str,
    then: Callable[[OptimizedSplat], None] = lambda done: None,
) -> OptimizedSplat:
    state = optimization.initial_state(*slots, optimization.new_adapters(inputs.priors, config))
    settings = {
        "config": dataclasses.asdict(config),
        "images": None if inputs.images is None else inputs.images.sha256,
        "models": list(inputs.fingerprints),
        "asked": [
            arrays_sha256((prior.asked, prior.negative, prior.given, prior.weight, prior.guidance or 1.0))
            for prior in inputs.priors
        ],
        "dilation": dilation,
    }
    side = max([options.resolution] if inputs.images else [prior.resolution for prior in inputs.priors])
    return run_resumably(
        options,
        config,
        state,
        settings,
        lambda state, every: optimization.guide(
            pulling, state, config, inputs.rig, dilation=dilation, pause_every=every
        ),
        lambda gaussians: draw_round(gaussians, inputs.rig, side, dilation, views=4),
        doing,
        then,
    )


def textured_mesh(gaussians: Gaussians, pulling: Pulling, config: DistilConfig, rig: ObjectRig) -> TexturedMesh:
    """Returns a mesh of a splat with a texture that is optimised while the geometry stays.

    Args:
        gaussians: `[n]`.
        pulling: what pulled at the splat, and pulls at the texture now.
        config: of both stages.
        rig: cameras of views from elsewhere.

    Raises:
        UserError: if packages are missing.
        DataError: if the splat is nowhere half opaque, so that there is nothing to mesh.
    """
    stage = config.mesh
    with progress_bar("making a mesh"):
        mesh = extract_mesh(gaussians, resolution=stage.resolution)
        textured = bake_texture(gaussians, mesh, size=stage.size)
    with progress_bar("its texture", stage.steps) as bar:
        for now in optimization.optimize_texture(textured, pulling, config, stage, rig):
            textured = now.mesh
            bar.update(1)
            bar.set_postfix_str(f"loss {now.loss:.4f}")
    return textured


def draw_round(
    gaussians: Gaussians, rig: ObjectRig, side: int, dilation: float, views: int = _ROUND
) -> Float[np.ndarray, "height width 3"]:
    """Returns what a splat looks like from all around, beginning at azimuth 0, on white.

    Args:
        gaussians: `[n]`.
        rig: elevation, distance and field of view.
        side: height and width of a view, pixels.
        dilation: of `render`, square pixels.
        views: how many.
    """
    cameras = orbit(
        np.arange(views) * 360.0 / views,
        elevation_degrees=rig.elevation,
        distance=rig.distance,
        fov_degrees=rig.fov,
    )
    images, _ = render_images(gaussians, cameras, side, dilation)
    return tile_images(images[None])


def _beside(inputs: GuidedInputs, splats: list[Gaussians], dilation: float) -> Float[np.ndarray, "height width 3"]:
    """Returns some given images above what splats show there."""
    assert inputs.images is not None
    images = optimization.choose(inputs.images.fitted, range(min(8, len(inputs.images.fitted.pixels))))
    target, _ = composite(np.asarray(images.pixels), 1.0)
    seen = [render_images(one, images.cameras, images.side, dilation)[0] for one in splats]
    return tile_images(np.stack([target, *seen]))


def _write(folder: Any, options: GuidedOptions, done: OptimizedSplat, inputs: GuidedInputs, dilation: float) -> None:
    for suffix in options.formats:
        write_gaussians(folder / f"gaussians.{suffix}", done.gaussians)
    side = max([options.resolution, *(prior.resolution for prior in inputs.priors)])
    write_image(folder / "round.png", draw_round(done.slots, inputs.rig, side, dilation))


def _record(options: GuidedOptions, inputs: GuidedInputs, done: OptimizedSplat) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "options": json.loads(json.dumps(dataclasses.asdict(options), default=str)),
        "images": None if inputs.images is None else {"name": inputs.images.name, "sha256": inputs.images.sha256},
        "models": list(inputs.fingerprints),
        "gaussians": len(done.gaussians.opacities),
        "capacity_full_at_step": done.full_at,
        "seconds": done.seconds,
        "processor_seconds": done.processor_seconds,
        "made_with": made_with(),
    }


def _check_resolutions(config: GuidedConfig, inputs: GuidedInputs) -> None:
    for prior in inputs.priors:
        if any(side > prior.resolution for side in config.resolutions):
            raise UserError(
                f"a prior knows images of {prior.resolution}×{prior.resolution}, and --resolutions asks for "
                f"{max(config.resolutions)}: give at most {prior.resolution}, or leave it out"
            )
    if config.resolutions and not inputs.priors:
        raise UserError("--resolutions is how large priors see the splat, and there is none: name one by --checkpoints")
