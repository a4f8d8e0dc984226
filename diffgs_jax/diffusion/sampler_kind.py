"""The names of the samplers, apart from all else: a command line that lists them need not import JAX."""

from typing import Literal

SamplerKind = Literal[
    "ddpm",  # ancestral on the respaced schedule (Ho et al. 2020); the published DiffusionGS sampler
    "ddim",  # Song et al. 2021; eta between 0 (deterministic) and 1 (ancestral, variance β̃)
    "dpm",  # DPM-Solver++(2M), deterministic, second order (Lu et al. 2022)
    "dpm_sde",  # SDE-DPM-Solver++(2M), its stochastic form (Lu et al. 2022)
    "edm",  # Euler's method in the coordinates x / α (Karras et al. 2022, algorithm 2 without churn and correction)
    "euler",  # Euler's method for flow matching (Esser et al. 2024)
]
