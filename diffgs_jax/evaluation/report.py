"""What an evaluation leaves behind: a table to read, numbers to compute with, and pictures to look at."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from diffgs_jax.evaluation.objects import PosedObject
from diffgs_jax.evaluation.protocol import Evaluation, Features, mean_scores, object_mean, set_distances
from diffgs_jax.models.contributions import faint_line

MODEL = "model"
ONE_STEP = "model, one step from noise"
FINER = "model, at twice the resolution"
SHOWN = "model, the views shown"
"""Names of the rows that are not baselines."""

_Columns = dict[str, tuple[str, str]]

# For each metric its title and how a number is written
_ON_THE_OBJECT: _Columns = {
    "bbox_psnr": ("bbox PSNR, dB", "{:.2f}"),
    "bbox_ssim": ("bbox SSIM", "{:.4f}"),
    "bbox_lpips_vgg": ("bbox LPIPS (VGG)", "{:.4f}"),
    "bbox_lpips_alex": ("bbox LPIPS (Alex)", "{:.4f}"),
    "alpha_iou": ("alpha IoU", "{:.3f}"),
    "depth_error": ("depth error", "{:.4f}"),
    "consistency": ("consistency, dB", "{:.2f}"),
    "denoised_opacity": ("opacity of denoised views", "{:.3f}"),
    "denoised_weight": ("weight of denoised views", "{:.3f}"),
}
_ON_THE_IMAGE: _Columns = {
    "psnr": ("PSNR, dB", "{:.2f}"),
    "ssim": ("SSIM", "{:.4f}"),
    "lpips_vgg": ("LPIPS (VGG)", "{:.4f}"),
    "lpips_alex": ("LPIPS (Alex)", "{:.4f}"),
    "fd_vgg16": ("FD-VGG16", "{:.3f}"),
    "kd_vgg16": ("KD-VGG16", "{:.3f}"),
    "fid": ("FID", "{:.2f}"),
    "kid": ("KID", "{:.4f}"),
    "seconds": ("seconds a sample", "{:.2f}"),
}
COLUMNS: _Columns = _ON_THE_OBJECT | _ON_THE_IMAGE
"""All metrics of a table: title, and the format of a number."""

NOTES = (
    "The bounding box is that of alpha > 0.5 in the true view, unpadded; background inside the box counts. SSIM has a "
    "Gaussian window of 1.5 pixels; on the box, it is that of the cropped pictures, a side shorter than a window "
    "lengthened to one. LPIPS is its version 0.1, less is better; on the box, it compares the square around the box, "
    "enlarged to the picture's size. Silhouettes are alpha > 0.5. FD-VGG16 and KD-VGG16 are the Fréchet distance and "
    "the squared maximum mean discrepancy (cubic kernel) of all predicted to all true views in relu5_3 of VGG16, mean "
    "over pixels: not FID and KID, which are those of Inception's features; less is better, and only values of equally "
    "many views can be compared. Depth error is the mean of |z − z*| / z*, nothing fitted. Consistency is the PSNR of "
    "a view's surface against the nearest other view, warped by the prediction's own depth. Opacity and weight of "
    "denoised views are their Gaussians' parts of all opacity and of the blending weight of the target views. Seconds "
    "are for one object in a batch, without compilation. The condition view is never scored."
)


def markdown_table(rows: Mapping[str, Mapping[str, float]], columns: _Columns = COLUMNS) -> str:
    """Returns one row for each name with its mean scores, as a Markdown table of the metrics that any row has.

    Args:
        rows: by name, the mean of each metric.
        columns: what to show: for each metric its title and the format of its numbers.
    """
    columns = {metric: column for metric, column in columns.items() if any(metric in means for means in rows.values())}
    lines = ["| | " + " | ".join(title for title, _ in columns.values()) + " |"]
    lines.append("|---|" + "---:|" * len(columns))
    for name, means in rows.items():
        cells = (form.format(means[metric]) if metric in means else "–" for metric, (_, form) in columns.items())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def means_of(row: Evaluation, truth: Features) -> dict[str, float]:
    """Returns everything that a row says in one number: mean scores, distances of sets, seconds a sample.

    Args:
        row: what a model or a baseline scored.
        truth: features of the true views.
    """
    seconds = {} if row.seconds_per_sample is None else {"seconds": row.seconds_per_sample}
    return mean_scores(row.scores) | set_distances(row.features, truth) | seconds


def summary(
    rows: Mapping[str, Evaluation], truth: Features, uids: Sequence[str], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns everything measured, as JSON can say it.

    Args:
        rows: what the model scored, as `MODEL`, perhaps `ONE_STEP`, `FINER` and `SHOWN` of it, and the baselines.
        truth: features of the true views.
        uids: of the objects, in the order of the scores.
        settings: what the numbers depend on.

    Returns:
        `settings`; `measure`, the metric that objects are ranked by: the PSNR on the bounding box, or of scenes on the
        picture; `means` by row and metric; `swap` with `right`, `wrong` and `difference` of the measure, dB, or None;
        `margin`, by metric the model's mean less the best baseline's, or None; and `objects`, by uid, the mean over
        views of every metric, with other rows' measure as `others` and the model's for a stranger's picture as
        `swapped`.
    """
    means = {name: means_of(row, truth) for name, row in rows.items()}
    baselines = [name for name in rows if name not in (MODEL, ONE_STEP, FINER, SHOWN)]
    measure = "bbox_psnr" if "bbox_psnr" in means[MODEL] else "psnr"
    swapped = rows[MODEL].swapped
    swap = None
    if swapped is not None:
        right, wrong = means[MODEL][measure], mean_scores(swapped)[measure]
        swap = {"right": right, "wrong": wrong, "difference": right - wrong}
    objects = {}
    for index, uid in enumerate(uids):
        of_model = {metric: object_mean(values[index]) for metric, values in rows[MODEL].scores.items()}
        others = {name: object_mean(row.scores[measure][index]) for name, row in rows.items() if name != MODEL}
        objects[uid] = {metric: value for metric, value in of_model.items() if np.isfinite(value)} | {"others": others}
        if swapped is not None:
            objects[uid]["swapped"] = object_mean(swapped[measure][index])
    return {
        "settings": dict(settings),
        "measure": measure,
        "means": means,
        "swap": swap,
        "margin": _margins(means, baselines) if baselines else None,
        "objects": objects,
    }


def markdown_report(measured: Mapping[str, Any]) -> str:
    """Returns the page that `summary` amounts to."""
    settings, means = measured["settings"], measured["means"]
    on_the_object = _ON_THE_OBJECT if measured["measure"] == "bbox_psnr" else {}
    asked = "all other views of the object" if on_the_object else "the target frames of the scene"
    shown = settings.get("views shown", 1)
    given = "One view" if shown == 1 else f"{shown} views"
    lines = ["# Evaluation", "", f"{given} in, {asked} out; means over views, then over all.", ""]
    if on_the_object:
        lines += ["On the object:", "", markdown_table(means, _ON_THE_OBJECT), "", "On the whole picture:", ""]
    lines += [markdown_table(means, {k: v for k, v in COLUMNS.items() if k not in on_the_object}), ""]
    title = COLUMNS[measured["measure"]][0].split(",")[0]
    if measured["margin"] is not None:
        better = ", ".join(
            f"{COLUMNS[metric][0].split(',')[0]} {value:+.4g}" for metric, value in measured["margin"].items()
        )
        lines += [f"The model less the best baseline of each column: {better}.", ""]
    if measured["swap"] is not None:
        swap = measured["swap"]
        lines += [
            f"Right condition {swap['right']:.2f} dB, another object's {swap['wrong']:.2f} dB: "
            f"the condition is worth {swap['difference']:+.2f} dB ({title}).",
            "",
        ]
    if "denoised_weight" in means[MODEL] and (said := faint_line(means[MODEL]["denoised_weight"])):
        lines += [said[0].upper() + said[1:] + ".", ""]
    lines += ["| Setting | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in settings.items()]
    lines += ["", NOTES, ""]
    return "\n".join(lines)


def _margins(means: Mapping[str, Mapping[str, float]], baselines: Sequence[str]) -> dict[str, float]:
    """Returns by metric what the model has more, or less where less is better, than the best of the baselines."""
    margins = {}
    for metric in ("bbox_psnr", "psnr", "bbox_ssim", "ssim", "alpha_iou", *_LESS_IS_BETTER):
        others = [means[name][metric] for name in baselines if metric in means[name]]
        if metric in means[MODEL] and others:
            margins[metric] = means[MODEL][metric] - (min if metric in _LESS_IS_BETTER else max)(others)
    return margins


_LESS_IS_BETTER = ("bbox_lpips_vgg", "bbox_lpips_alex", "lpips_vgg", "lpips_alex", "fd_vgg16", "kd_vgg16", "fid", "kid")


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
        views: how many target views to show, spread over all there are; fewer if an object has no more.
    """
    views = min(views, *(len(objects[index].asked) for index in chosen))
    rows = []
    for index in chosen:
        item = objects[index]
        truth = item.images[item.asked]
        shown = np.linspace(0, len(truth) - 1, views).round().astype(int)
        predicted = predictions[index][shown].astype(np.float32) / 255
        rows.append(np.concatenate([item.images[item.condition][None], predicted, truth[shown]]))
    return np.stack(rows)
