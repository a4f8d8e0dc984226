"""Settings of a run that do not depend on the model family."""

import dataclasses
from typing import Literal

from diffgs_jax.diffusion import SamplerKind
from diffgs_jax.geometry import DILATION, FOREGROUND_RATIO


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """How devices are arranged. The losses do not depend on it."""

    data: int = 0
    """Groups of devices, each with all the weights; 0 makes as many as there are devices for."""
    fsdp: int = 1
    """Devices that share one copy of the weights, their average and the optimizer."""


@dataclasses.dataclass(frozen=True)
class ClusterConfig:
    """How several processes find each other."""

    join: Literal["none", "auto", "explicit"] = "none"
    """`auto` asks SLURM, Kubernetes, Open MPI or the cloud; `explicit` takes the three fields below."""
    coordinator: str = ""
    """HOST:PORT of process 0."""
    processes: int = 0
    """How many there are."""
    process: int = -1
    """The number of this one, from 0."""
    timeout_seconds: int = 300
    """How long to wait for the others."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """An optimizer, its linear warm-up and cosine decay to the run's last step, and an average of the weights."""

    kind: Literal["adamw", "muon"] = "adamw"
    """`muon` orthogonalises the updates of the transformer blocks' matrices (Jordan et al. 2024), scaled to the size of
    AdamW's (Liu et al. 2025, eq. 4), so that learning rates mean the same; the rest is left to AdamW with Nesterov's
    momentum and without decay."""

    learning_rate: float = 4e-4
    """Peak step size."""
    warmup_steps: int = 200
    """Steps over which the learning rate rises linearly from zero."""
    final_fraction: float = 0.02
    """Learning rate at the last step, as a fraction of the peak."""
    weight_decay: float = 0.01
    """Decoupled decay, applied to matrices only."""
    beta1: float = 0.9
    """Decay of the gradient's average."""
    beta2: float = 0.95
    """Decay of the squared gradient's average."""
    clip_norm: float = 0.5
    """Gradients are scaled down to this global norm."""
    ema_decay: float = 0.998
    """Decay of the average of the weights that samples are drawn from; it starts lower and rises to this."""
    ema_power: float = 0.0
    """How the average's decay rises after n steps: above 0 by 1 − (1 + n)^−power (0.75 as published with DiffSplat),
    else by (1 + n) / (10 + n)."""
    rate_factors: tuple[tuple[str, float], ...] = ()
    """Factors of the learning rate by parts of a weight's path: `--optimizer.rate-factors attention 0.1 text 0` learns
    a tenth as fast where the path has "attention" in it, and not at all where it has "text". The last that fits
    counts."""
    accumulate: int = 1
    """Parts a batch is cut into, one after another in a step, their gradients averaged: less memory, the same step."""
    spike_factor: float = 0.0
    """Leave out (and count) gradients that are not finite or this many times larger than usual; 0 leaves none out, and
    a loss that is not finite stops the run."""


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """How long to train, what to write, and where."""

    folder: str = "runs/quickstart"
    """Run folder: settings, metrics, previews and checkpoints. The same command continues what is there."""
    steps: int = 2000
    """Optimizer steps of the whole run, before and after any interruption."""
    seed: int = 0
    """Seeds initialisation, noise and timesteps; the data has its own."""
    log_every: int = 20
    """Steps between lines of metrics.jsonl and the TensorBoard file."""
    preview_every: int = 500
    """Steps between previews (`previews/*.png`): samples of test objects, or of training objects where none are held
    out. A first one comes after a tenth of them; 0 writes none."""
    preview_objects: int = 4
    """Test objects in a preview."""
    preview_steps: int = 10
    """DDIM steps a preview is sampled with."""
    checkpoint_every: int = 500
    """Steps between checkpoints; the last step always writes one."""
    checkpoint_seconds: int = 600
    """Also write one when so many seconds have passed since the last. Early on sooner: after 45 seconds or a quarter
    of the time trained so far, whichever is more. 0 goes by steps alone, as runs of several processes do."""
    keep_checkpoints: int = 2
    """Newest checkpoints that are kept."""
    evaluate_every: int = 0
    """Steps between scores of the averaged weights on the test split (`test/…` in the metrics); 0 scores never."""
    evaluate_objects: int = 8
    """Test objects that are scored."""
    wandb_project: str = ""
    """Also log to this project of Weights & Biases (`pip install wandb`); empty does not."""
    init_from: str = ""
    """A checkpoint directory whose averaged weights this run starts from; empty starts from random weights."""
    init_partly: bool = False
    """Let weights that `init_from` lacks start as they would in a new model: a second decoder, a colour skip."""


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """How the model is sampled from when the caller does not say."""

    sampler: SamplerKind = "ddim"
    """`ddim` and `dpm` are deterministic after the first noise; `ddpm` is ancestral, as published."""
    steps: int = 30
    """Denoiser calls."""
    guidance: tuple[float, ...] = (1.0,)
    """Scale of classifier-free guidance, one for all views or one for each that is generated; 1 is none."""
    filter: float = DILATION
    """Variance, square pixels of the training resolution, that is made part of every Gaussian a model returns, because
    rendering added it in training (`geometry/smoothing.py`). 0 returns Gaussians as they were predicted, as published
    models are used."""
    foreground_ratio: float = FOREGROUND_RATIO
    """An object's larger side over the side of the view, as in the views that the model was trained on."""
