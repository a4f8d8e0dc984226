"""What a run writes while it trains: metrics as JSON lines and TensorBoard scalars, and pictures."""

import json
import os
import pathlib
from typing import NamedTuple

import imageio.v3 as imageio
import numpy as np
from jaxtyping import Float
from tensorboardX import SummaryWriter


class RunLog(NamedTuple):
    """Open files of a run."""

    folder: pathlib.Path
    board: SummaryWriter


def open_log(folder: str | pathlib.Path, step: int) -> RunLog:
    """Opens a run's logs to continue after `step`; lines of later steps, which a killed run left, are dropped."""
    folder = pathlib.Path(folder)
    metrics = folder / "metrics.jsonl"
    if metrics.exists():
        lines = metrics.read_text(errors="replace").splitlines(keepends=True)
        kept = [line for line in lines if _is_before(line, step)]
        beside = metrics.with_suffix(".jsonl.partial")
        beside.write_text("".join(kept))
        os.replace(beside, metrics)
    return RunLog(folder, SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1))


def _is_before(line: str, step: int) -> bool:
    try:
        return json.loads(line)["step"] <= step
    except (ValueError, KeyError, TypeError):  # damaged, such as the line that a kill cut short
        return False


def log_metrics(log: RunLog, step: int, metrics: dict[str, float]) -> None:
    """Appends one line to `metrics.jsonl` and the same values to TensorBoard."""
    with open(log.folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": step, **metrics}) + "\n")
    for name, value in metrics.items():
        log.board.add_scalar(name, value, step)


def log_image(log: RunLog, step: int, name: str, image: Float[np.ndarray, "h w 3"]) -> None:
    """Writes `grids/<name>_<step>.png` and shows it in TensorBoard.

    Args:
        log: of `open_log`.
        step: optimizer steps done.
        name: of the picture.
        image: in [0, 1].
    """
    pixels = (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    path = log.folder / "grids" / f"{name}_{step:07d}.png"
    path.parent.mkdir(exist_ok=True)
    imageio.imwrite(path, pixels)
    log.board.add_image(name, pixels, step, dataformats="HWC")


def close_log(log: RunLog) -> None:
    """Flushes what is still in memory."""
    log.board.close()
