"""Makes Gaussians by optimization: `python -m diffgs_jax.optimize fit|refine|distil --out DIR`.

    fit     --data DATA                     posed images to a splat
    refine  --start SPLAT [--image IMAGE]   a splat that another command made, closer to what it was made of
    distil  [--image IMAGE | --labels 3]    fog to a splat, by models that were trained before

DATA is a `transforms.json` (or its folder), a COLMAP folder, or a record store with `--record NAME`. The folder
receives `gaussians.ply`, images of it, `previews/` on the way, and `fit.json`, `refine.json` or `distil.json`: options,
scores, times. Killed at any moment and given the same command again, it goes on from where it was saved last, to the
same splat. `fit --help`, `refine --help` and `distil --help` list every option.
"""

import sys
from typing import TYPE_CHECKING

from diffgs_jax.commands.progress import progress_bar
from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import UserError, report_errors

if TYPE_CHECKING:
    from diffgs_jax.commands.fit_options import FitOptions

_PROG = "python -m diffgs_jax.optimize"
_USAGE = f"usage: {_PROG} fit|refine|distil --out DIR [--option value …]; fit --help lists the options of fit"


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    with report_errors():
        words = sys.argv[1:] if arguments is None else arguments
        mode, rest = (words[0] if words else ""), words[1:]
        if mode in ("--help", "-h"):
            print(__doc__)
            return
        prog = f"{_PROG} {mode}"
        if mode == "fit":
            from diffgs_jax.commands.fit_options import FitOptions

            run(parse_options(FitOptions, rest, prog=prog).checked())
        elif mode in ("refine", "distil"):
            _guide(mode, rest, prog)
        else:
            raise UserError(_USAGE)


def run(options: "FitOptions") -> None:
    """Fits Gaussians to the images and fills the folder.

    Raises:
        UserError: if an option is out of range, a path cannot be read or written, or the images need more memory than
            stated; before any expensive work.
        DataError: if the images, their poses or the splat to start from cannot be used.
        SystemExit: with code 75, after saving, if the run was asked to stop (SIGTERM).
    """
    # What takes seconds to import comes after the options are known to be good
    with progress_bar("reading images"):
        from diffgs_jax.commands.fit_inputs import read_inputs
        from diffgs_jax.commands.fit_outputs import score, write_outputs
        from diffgs_jax.commands.fit_run import fit_resumably
        from diffgs_jax.inference import use_compile_cache

        use_compile_cache()
        inputs = read_inputs(options)
    done = fit_resumably(options, inputs)
    with progress_bar("scoring and writing"):
        scores = score(done.slots, inputs)
        write_outputs(options, inputs, done, scores)
    told = scores.get("held_out") or scores["fitted"]
    measure = "bbox_psnr" if "bbox_psnr" in told else "psnr"
    on = "held-out" if "held_out" in scores else "fitted"
    print(
        f"{len(done.gaussians.opacities)} Gaussians, {told[measure]:.2f} dB {measure} on {on} images, "
        f"{done.seconds:.0f} s: {', '.join(str(options.out / f'gaussians.{kind}') for kind in options.formats)}",
        flush=True,
    )


def _guide(mode: str, words: list[str], prog: str) -> None:
    """Refines or distils, and says what came of it."""
    from diffgs_jax.commands.guided_options import DistilOptions, RefineOptions

    refining = mode == "refine"
    options = parse_options(RefineOptions if refining else DistilOptions, words, prog=prog).checked()
    with progress_bar("starting"):
        from diffgs_jax.commands.guided_run import distil, refine
        from diffgs_jax.inference import use_compile_cache

        use_compile_cache()
    done = refine(options) if isinstance(options, RefineOptions) else distil(options)
    scores = done.get("scores", {})
    measure = "bbox_psnr" if "bbox_psnr" in scores.get("after", {}).get("fitted", {}) else "psnr"
    told = [f"{scores[when]['fitted'][measure]:.2f} dB" for when in ("before", "after") if when in scores]
    on_given = f", {measure} on given images {' to '.join(told)}" if told else ""
    files = ", ".join(str(options.out / f"gaussians.{kind}") for kind in options.formats)
    print(f"{done['gaussians']} Gaussians{on_given}, {done['seconds']:.0f} s: {files}", flush=True)


if __name__ == "__main__":
    main()
