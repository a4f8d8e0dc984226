"""Names of what score distillation can be asked for; importing them is cheap."""

from typing import Literal

DistillationWeight = Literal[
    "variance",  # w(t) = σ_t², 1 − ᾱ_t where the variance is preserved (DreamFusion)
    "one",  # w(t) = 1
]
Annealing = Literal[
    "random",  # any timestep of the range at any time (DreamFusion)
    "linear",  # from the noisiest to the least noisy, in step with progress (DreamGaussian, Tang et al. 2024)
    "sqrt",  # the same with √progress: soon out of the noise, long at the details (HiFA, Zhu & Zhuang 2024)
]
