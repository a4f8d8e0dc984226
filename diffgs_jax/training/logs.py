"""What a run writes while it trains: metrics as JSON lines and TensorBoard scalars, and pictures."""

import json
import pathlib
from typing import Any, NamedTuple

import imageio.v3 as imageio
import numpy as np
from jaxtyping import Float

from diffgs_jax.errors import UserError
from diffgs_jax.files import write_text, written_beside


class RunLog(NamedTuple):
    """Open files of a run.

    Attributes:
        folder: of the run.
        board: TensorBoard's `SummaryWriter`.
        tracker: a run of Weights & Biases, or None.
    """

    folder: pathlib.Path
    board: Any
    tracker: Any = None


def open_log(
    folder: str | pathlib.Path, step: int, *, wandb_project: str = "", config: dict[str, Any] | None = None
) -> RunLog:
    """Opens a run's logs to continue after `step`; lines of later steps, which a killed run left, are dropped.

    Args:
        folder: of the run.
        step: optimizer steps done.
        wandb_project: also log to this project of Weights & Biases, under the folder's name; empty does not.
        config: what Weights & Biases shows as the run's settings.

    Raises:
        UserError: if Weights & Biases is asked for and not installed.
    """
    # Here, because it brings torch along where that is installed: seconds that sampling need not wait for.
    from tensorboardX import SummaryWriter

    tracker = _open_tracker(folder, wandb_project, config) if wandb_project else None
    folder = pathlib.Path(folder)
    metrics = folder / "metrics.jsonl"
    if metrics.exists():
        lines = metrics.read_text(errors="replace").splitlines(keepends=True)
        kept = [line for line in lines if _is_before(line, step)]
        write_text(metrics, "".join(kept))
    return RunLog(folder, SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1), tracker)


def _open_tracker(folder: str | pathlib.Path, project: str, config: dict[str, Any] | None) -> Any:
    try:
        import wandb  # ty: ignore (optional)
    except ImportError as error:
        raise UserError("run.wandb_project needs Weights & Biases: pip install wandb") from error
    name = pathlib.Path(folder).absolute().name
    return wandb.init(project=project, name=name, id=name, resume="allow", dir=str(folder), config=config)


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
    if log.tracker is not None:
        log.tracker.log(metrics, step=step)


def log_image(log: RunLog, step: int, name: str, image: Float[np.ndarray, "h w 3"]) -> pathlib.Path:
    """Writes `previews/<name>_<step>.png` and shows it in TensorBoard and, if asked for, Weights & Biases.

    Args:
        log: of `open_log`.
        step: optimizer steps done.
        name: of the picture.
        image: in [0, 1].

    Returns:
        The file.
    """
    pixels = (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    path = log.folder / "previews" / f"{name}_{step:07d}.png"
    path.parent.mkdir(exist_ok=True)
    with written_beside(path) as beside:
        imageio.imwrite(beside, pixels)
    log.board.add_image(name, pixels, step, dataformats="HWC")
    if log.tracker is not None:
        import wandb  # ty: ignore (optional)

        log.tracker.log({name: wandb.Image(pixels)}, step=step)
    return path


def close_log(log: RunLog) -> None:
    """Flushes what is still in memory."""
    log.board.close()
    if log.tracker is not None:
        log.tracker.finish()
