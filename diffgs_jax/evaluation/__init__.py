"""How good a model is: metrics, baselines, and the single-view protocol."""

from diffgs_jax.evaluation.baselines import Picture, billboard, copied_view, mean_view
from diffgs_jax.evaluation.metrics import (
    ALPHA_THRESHOLD,
    PSNR_LIMIT,
    alpha_iou,
    bounding_box,
    bounding_box_psnr,
    psnr,
    score_views,
    ssim,
)
from diffgs_jax.evaluation.objects import (
    CONDITION_ELEVATION,
    Cases,
    PosedObject,
    condition_index,
    derangement,
    load_objects,
    make_cases,
)
from diffgs_jax.evaluation.protocol import (
    Evaluation,
    Predictor,
    ProtocolConfig,
    Scores,
    evaluate_model,
    evaluate_pictures,
    make_predictor,
    mean_scores,
    rig_views,
)
from diffgs_jax.evaluation.report import markdown_report, markdown_table, object_rows, summary

__all__ = [
    "ALPHA_THRESHOLD",
    "CONDITION_ELEVATION",
    "PSNR_LIMIT",
    "Evaluation",
    "Picture",
    "PosedObject",
    "Predictor",
    "ProtocolConfig",
    "Scores",
    "Cases",
    "alpha_iou",
    "billboard",
    "bounding_box",
    "bounding_box_psnr",
    "condition_index",
    "copied_view",
    "derangement",
    "evaluate_model",
    "evaluate_pictures",
    "load_objects",
    "make_cases",
    "make_predictor",
    "markdown_report",
    "markdown_table",
    "mean_scores",
    "mean_view",
    "object_rows",
    "psnr",
    "rig_views",
    "score_views",
    "ssim",
    "summary",
]
