"""Curves as a picture: small plots side by side, drawn with Pillow, so that no plotting library is needed."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from diffgs_jax.evaluation.objects import PosedObject
from diffgs_jax.evaluation.protocol import Evaluation, object_mean
from diffgs_jax.evaluation.report import COLUMNS
from diffgs_jax.files import written_beside

PLOTTED = (
    "bbox_psnr",
    "bbox_ssim",
    "bbox_lpips_vgg",
    "bbox_lpips_alex",
    "alpha_iou",
    "consistency",
    "psnr",
    "lpips_vgg",
)
"""Metrics that are drawn, where there are any."""

COLOURS = ((31, 119, 180), (214, 94, 0), (0, 140, 90), (150, 70, 160), (110, 110, 110), (190, 150, 0))
"""One for each line of a plot, told apart by the colour-blind too."""

Number = float | int
Point = tuple[Number, Number]

_SCALE = 2  # drawn larger and shrunk, so that lines are smooth
_WIDTH, _HEIGHT = 380, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 30, 58
_INK, _PALE = (40, 40, 40), (222, 222, 222)


class Plot(NamedTuple):
    """One plot.

    Attributes:
        title: above it.
        x_title: under its axis.
        lines: by name, x and y; points that are not finite are left out.
        x_ticks: where the axis is marked; by default at the first line's points.
        logarithmic: space x by its logarithm.
    """

    title: str
    x_title: str
    lines: Mapping[str, tuple[Sequence[Number], Sequence[Number]]]
    x_ticks: Sequence[Number] | None = None
    logarithmic: bool = False


def draw_plots(path: str | os.PathLike[str], plots: Sequence[Plot], columns: int = 3) -> None:
    """Writes the plots as a PNG, in rows, with one legend for all under them.

    Args:
        path: the file.
        plots: at least one.
        columns: plots in a row.
    """
    names = list(dict.fromkeys(name for plot in plots for name in plot.lines))
    columns = min(columns, len(plots))
    rows = math.ceil(len(plots) / columns)
    legend = 26 * math.ceil(len(names) / columns) + 8
    sheet = Image.new("RGB", (columns * _WIDTH * _SCALE, (rows * _HEIGHT + legend) * _SCALE), "white")
    draw = ImageDraw.Draw(sheet)
    for number, plot in enumerate(plots):
        _draw_plot(draw, plot, (number % columns) * _WIDTH, (number // columns) * _HEIGHT, names)
    for number, name in enumerate(names):
        x, y = (number % columns) * _WIDTH + _LEFT, rows * _HEIGHT + 26 * (number // columns) + 10
        _line(draw, [(x, y), (x + 26, y)], COLOURS[number % len(COLOURS)], 2)
        _text(draw, (x + 34, y), name, "lm", 12)
    with written_beside(path) as beside:
        sheet.resize((sheet.width // _SCALE, sheet.height // _SCALE), Image.Resampling.BOX).save(beside, "PNG")


def plots_by_angle(rows: Mapping[str, Evaluation], objects: Sequence[PosedObject], width: float = 30.0) -> list[Plot]:
    """Returns how each row fares the farther the asked view is from the one that was shown.

    Args:
        rows: by name, of one table.
        objects: that were evaluated.
        width: of the ranges of angles that are averaged over, degrees; a mean stands at its range's middle.
    """
    angles = np.concatenate([_angles(item) for item in objects])
    middles = [width * (i + 0.5) for i in range(math.ceil(180 / width))]
    plots = []
    for metric in PLOTTED:
        lines = {}
        for name, row in rows.items():
            if metric in row.scores:
                values = np.concatenate(row.scores[metric])
                within = [values[np.minimum(angles // width, len(middles) - 1) == i] for i in range(len(middles))]
                lines[name] = middles, [object_mean(part) for part in within]
        if lines:
            plots.append(Plot(COLUMNS[metric][0], "degrees from the condition view", lines, middles))
    return plots


def _angles(item: PosedObject) -> np.ndarray:
    """Returns the angle between each target camera's viewing direction and the nearest one shown, degrees."""
    directions = np.asarray(item.cameras.camera_to_world, np.float64)[:, :3, 2]
    cosines = np.max(directions[item.asked] @ directions[[item.condition, *item.further]].T, axis=1)
    return np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))


def ticks(low: Number, high: Number, about: int = 5) -> list[float]:
    """Returns round numbers, one, two or five times a power of ten apart, from at most `low` to at least `high`."""
    span = high - low if high > low else abs(high) or 1.0
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next((factor for factor in (1, 2, 5) if factor * power >= rough), 10)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def _draw_plot(draw: ImageDraw.ImageDraw, plot: Plot, left: int, top: int, names: Sequence[str]) -> None:
    lines = {name: np.asarray(line, np.float64).reshape(2, -1) for name, line in plot.lines.items()}
    lines = {name: line[:, np.isfinite(line).all(axis=0)] for name, line in lines.items()}
    points = np.concatenate([line for line in lines.values()], axis=1)
    _text(draw, (left + _LEFT, top + 8), plot.title, "la", 13)
    if not points.size:
        return
    spacing = np.log if plot.logarithmic else np.asarray
    x_ticks = list(next(iter(lines.values()))[0]) if plot.x_ticks is None else list(plot.x_ticks)
    y_ticks = ticks(points[1].min(), points[1].max())
    x_low, x_high = spacing(min(*x_ticks, points[0].min())), spacing(max(*x_ticks, points[0].max()))
    box = (left + _LEFT, top + _TOP, left + _WIDTH - _RIGHT, top + _HEIGHT - _BOTTOM)

    def place(x: Number, y: Number) -> tuple[float, float]:
        part = (spacing(x) - x_low) / (x_high - x_low) if x_high > x_low else 0.5
        height = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return box[0] + 10 + part * (box[2] - box[0] - 20), box[3] - height * (box[3] - box[1])

    for value in y_ticks:
        y = place(x_ticks[0], value)[1]
        _line(draw, [(box[0], y), (box[2], y)], _PALE, 1)
        _text(draw, (box[0] - 6, y), f"{value:g}", "rm", 11)
    for value in x_ticks:
        x = place(value, y_ticks[0])[0]
        _line(draw, [(x, box[3]), (x, box[3] + 4)], _INK, 1)
        _text(draw, (x, box[3] + 7), f"{value:g}", "ma", 11)
    _line(draw, [(box[0], box[3]), (box[2], box[3])], _INK, 1)
    _text(draw, ((box[0] + box[2]) / 2, box[3] + 24), plot.x_title, "ma", 11)
    for name, line in lines.items():
        colour = COLOURS[names.index(name) % len(COLOURS)]
        path = [place(x, y) for x, y in line.T]
        if len(path) > 1:
            _line(draw, path, colour, 2)
        for x, y in path:
            draw.ellipse(
                [(side - 3) * _SCALE for side in (x, y)] + [(side + 3) * _SCALE for side in (x, y)], fill=colour
            )


def _line(draw: ImageDraw.ImageDraw, points: Sequence[Point], colour: tuple, width: int) -> None:
    draw.line([(x * _SCALE, y * _SCALE) for x, y in points], fill=colour, width=width * _SCALE, joint="curve")


def _text(draw: ImageDraw.ImageDraw, place: Point, text: str, anchor: str, size: int) -> None:
    font = ImageFont.load_default(size=size * _SCALE)
    draw.text((place[0] * _SCALE, place[1] * _SCALE), text, fill=_INK, font=font, anchor=anchor)
