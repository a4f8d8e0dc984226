"""What an evaluation leaves behind: a table to read, numbers to compute with, and pictures to look at."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from diffgs_jax.evaluation.objects import PosedObject
from diffgs_jax.evaluation.protocol import Scores, mean_scores

_COLUMNS = {
    "bbox_psnr": ("bbox PSNR, dB", "{:.2f}"),
    "psnr": ("PSNR, dB", "{:.2f}"),
    "ssim": ("SSIM", "{:.4f}"),
    "alpha_iou": ("alpha IoU", "{:.3f}"),
    "lpips_vgg": ("LPIPS (VGG)", "{:.4f}"),
    "lpips_alex": ("LPIPS (Alex)", "{:.4f}"),
}


def markdown_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Returns one row for each name with its mean scores, as a Markdown table of the metrics that any row has."""
    columns = {metric: column for metric, column in _COLUMNS.items() if any(metric in means for means in rows.values())}
    lines = ["| | " + " | ".join(title for title, _ in columns.values()) + " |"]
    lines.append("|---|" + "---:|" * len(columns))
    for name, means in rows.items():
        cells = (form.format(means[metric]) if metric in means else "–" for metric, (_, form) in columns.items())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(
    rows: Mapping[str, Scores], swapped: Scores | None, uids: Sequence[str], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns everything measured, as JSON can say it.

    Args:
        rows: scores of the model, which comes first, and of the baselines.
        swapped: the model's scores with other objects' conditions.
        uids: of the objects, in the order of the scores.
        settings: what the numbers depend on.

    Returns:
        `settings`; `means` by row and metric; `swap` with `right`, `wrong` and `difference` of the bounding-box PSNR,
        dB, or None; `margin`, the model's bounding-box PSNR less the best baseline's, dB, or None; and `objects`, by
        uid, the mean over views of every metric, with the model's value for a stranger's picture as `swapped`.
    """
    model, *baselines = rows
    means = {name: mean_scores(scores) for name, scores in rows.items()}
    right = means[model]["bbox_psnr"]
    best = max((means[name]["bbox_psnr"] for name in baselines), default=None)
    swap = None
    if swapped is not None:
        wrong = mean_scores(swapped)["bbox_psnr"]
        swap = {"right": right, "wrong": wrong, "difference": right - wrong}
    objects = {}
    for index, uid in enumerate(uids):
        of_model = {metric: float(np.mean(values[index])) for metric, values in rows[model].items()}
        of_others = {name: float(np.mean(rows[name]["bbox_psnr"][index])) for name in baselines}
        objects[uid] = of_model | {"baselines_bbox_psnr": of_others}
        if swapped is not None:
            objects[uid]["swapped_bbox_psnr"] = float(np.mean(swapped["bbox_psnr"][index]))
    return {
        "settings": dict(settings),
        "means": means,
        "swap": swap,
        "margin": None if best is None else right - best,
        "objects": objects,
    }


def markdown_report(measured: Mapping[str, Any]) -> str:
    """Returns the page that `summary` amounts to."""
    settings = measured["settings"]
    lines = ["# Evaluation", "", "One view in, all other views of the object out; means over views, then objects.", ""]
    lines += [markdown_table(measured["means"]), ""]
    if measured["margin"] is not None:
        lines += [f"Above the best baseline by {measured['margin']:+.2f} dB (bbox PSNR).", ""]
    if measured["swap"] is not None:
        swap = measured["swap"]
        lines += [
            f"Right condition {swap['right']:.2f} dB, another object's {swap['wrong']:.2f} dB: "
            f"the condition is worth {swap['difference']:+.2f} dB (bbox PSNR).",
            "",
        ]
    lines += ["| Setting | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in settings.items()]
    lines += [
        "",
        "The bounding box is that of alpha > 0.5 in the true view, unpadded; background inside the box counts. SSIM "
        "has a Gaussian window of 1.5 pixels. Silhouettes are alpha > 0.5. LPIPS, where measured, is its version "
        "0.1 on the whole picture; less is better. The condition view is never scored.",
        "",
    ]
    return "\n".join(lines)


def object_rows(
    objects: Sequence[PosedObject],
    predictions: Sequence[np.ndarray],
    chosen: Sequence[int],
    views: int = 5,
) -> Float[np.ndarray, "rows columns h w 3"]:
    """Lays out a row of pictures for each chosen object: the condition, views as predicted, the same views in truth.

    Args:
        objects: all that were evaluated.
        predictions: of `evaluate_model`.
        chosen: which objects to show.
        views: how many target views to show, spread over all there are.
    """
    rows = []
    for index in chosen:
        item = objects[index]
        truth = np.delete(item.images, item.condition, axis=0)
        shown = np.linspace(0, len(truth) - 1, views).round().astype(int)
        predicted = predictions[index][shown].astype(np.float32) / 255
        rows.append(np.concatenate([item.images[item.condition][None], predicted, truth[shown]]))
    return np.stack(rows)
