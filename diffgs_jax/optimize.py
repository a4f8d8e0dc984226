"""Fits Gaussians to images: `python -m diffgs_jax.optimize fit --data DATA --out DIR`.

DATA is a `transforms.json` (or its folder), a COLMAP folder, or a record store with `--record NAME`. The folder
receives `gaussians.ply`, `views.png` (images that were held out, above what the splat shows there), `previews/` on
the way, and `fit.json`: options, scores of the held-out images, times. Killed at any moment and given the same
command again, it goes on from where it was saved last, to the same splat. `fit --help` lists every option.
"""

import sys
from typing import TYPE_CHECKING

from diffgs_jax.config.parsing import parse_options
from diffgs_jax.errors import UserError, report_errors

if TYPE_CHECKING:
    from diffgs_jax.commands.fit_options import FitOptions

_USAGE = "usage: python -m diffgs_jax.optimize fit --data DATA --out DIR [--option value …]; fit --help lists them"


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    with report_errors():
        words = sys.argv[1:] if arguments is None else arguments
        if words[:1] in (["--help"], ["-h"]):
            print(__doc__)
            return
        if words[:1] != ["fit"]:
            raise UserError(_USAGE)
        from diffgs_jax.commands.fit_options import FitOptions

        run(parse_options(FitOptions, words[1:], prog="python -m diffgs_jax.optimize fit").checked())


def run(options: "FitOptions") -> None:
    """Fits Gaussians to the images and fills the folder.

    Raises:
        UserError: if an option is out of range, a path cannot be read or written, or the images need more memory than
            stated; before any expensive work.
        DataError: if the images, their poses or the splat to start from cannot be used.
        SystemExit: with code 75, after saving, if the run was asked to stop (SIGTERM).
    """
    # What takes seconds to import comes after the options are known to be good
    from diffgs_jax.commands.fit_inputs import read_inputs
    from diffgs_jax.commands.fit_outputs import score, write_outputs
    from diffgs_jax.commands.fit_run import fit_resumably
    from diffgs_jax.inference import use_compile_cache

    use_compile_cache()
    inputs = read_inputs(options)
    done = fit_resumably(options, inputs)
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


if __name__ == "__main__":
    main()
