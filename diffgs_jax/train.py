"""Trains a model: `python -m diffgs_jax.train --config configs/diffusion_gs/quickstart.py [--section.field value …]`.

The run folder collects the settings (`config.json`), `metrics.jsonl`, a TensorBoard file, previews and checkpoints.
Killed at any moment and started again with the same command, it continues from the newest checkpoint, with the same
batches and the same random numbers as if nothing had happened. `--help` after `--config FILE` lists every setting.
"""

import contextlib
import pathlib
import sys

from diffgs_jax.errors import UserError, report_errors


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    with report_errors():
        if len(arguments) < 2 or arguments[0] != "--config":
            raise UserError("usage: python -m diffgs_jax.train --config FILE [--section.field value …]")
        if not pathlib.Path(arguments[1]).is_file():
            raise UserError(f"there is no config file {arguments[1]}")
        # Seconds of imports, each after what can be refused without it
        from diffgs_jax.config import load_config

        config = load_config(arguments[1], arguments[2:])
        from diffgs_jax.commands.progress import progress_bar

        with contextlib.ExitStack() as starting:
            starting.enter_context(progress_bar("starting"))
            from diffgs_jax.commands.training import train
            from diffgs_jax.inference import use_compile_cache

            use_compile_cache()
            train(config, on_start=starting.close)


if __name__ == "__main__":
    main()
