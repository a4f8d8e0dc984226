"""What the variational bound of a diffusion model comes to when its network tells the noise (Ho et al. 2020, 3).

−log p(x_0) ≤ L_T + Σ_t L_{t−1} + L_0, each L_{t−1} a divergence of two Gaussians, q(x_{t−1} | x_t, x_0) and the model's
p(x_{t−1} | x_t), whose means differ only by the noise that the network tells wrongly. So it is a weight times a squared
error, and training leaves the weight out.
"""

import numpy as np
from jaxtyping import Float64

from diffgs_jax.diffusion.options import Variance
from diffgs_jax.diffusion.schedules import Schedule, posterior
from diffgs_jax.errors import UserError


def elbo_weights(schedule: Schedule, variance: Variance = "fixed_large") -> Float64[np.ndarray, "steps"]:
    """Returns the w_t of L_{t−1} = w_t · ‖ε − ε̂‖² + constant: β_t² / (2 σ_t² (1 − β_t) (1 − ᾱ_t)) (Ho et al., eq. 12).

    At t = 0, where the step ends at the clean array and β̃ is 0, σ_0² is β_0 either way: L_0 is then the error of a
    Gaussian of that variance.

    Args:
        schedule: with β.
        variance: σ_t² of the model's steps: β_t (`fixed_large`) or β̃_t (`fixed_small`).

    Raises:
        UserError: for a flow schedule, which has no β.
    """
    betas = schedule.betas
    if betas is None:
        raise UserError("a flow schedule has no betas, so no bound in terms of them")
    sigma2 = betas
    if variance == "fixed_small":
        sigma2 = np.concatenate([betas[:1], posterior(schedule).variance[1:]])
    return betas**2 / (2 * sigma2 * (1 - betas) * (1 - schedule.alphas_cumprod))
