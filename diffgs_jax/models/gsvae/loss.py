"""What gsvae is trained to do: give back what it encoded, and renderings of it (Lin et al. 2025, section 3.2)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, PRNGKeyArray

from diffgs_jax.models.bundles import Batch, Frozen, Metrics, Params
from diffgs_jax.models.family import family
from diffgs_jax.models.gsvae.config import GSVAEConfig
from diffgs_jax.models.gsvae.network import (
    decode_raw,
    decode_tiny,
    divergence,
    draw,
    encode_posterior,
    to_diffusion,
)
from diffgs_jax.models.losses import lpips


def loss(
    config: GSVAEConfig, params: Params, frozen: Frozen, batch: Batch, key: PRNGKeyArray, step: Int32[Array, ""]
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the loss of the stage, and its terms, none of them times its weight.

    `reconstruction` is the mean squared error of what is decoded, clipped to [−1, 1]; `rendering` that of the
    reconstructor with the decoded grid in place of its own, its terms after it (`rendering_psnr` for instance); `kl`
    the mean over grids of the divergence summed over a latent.

    Args:
        config: the model's settings.
        params: its weights.
        frozen: of `load_frozen(config, "training")`.
        batch: its inputs are reconstructed and encoded, or encoded as they are; its targets supervise renderings.
        key: draws the latents.
        step: optimizer steps done.
    """
    key_latent, key_views = jax.random.split(key)
    truth = encoded_arrays(config, frozen, batch)
    lead, flat = truth.shape[:2], truth.reshape(-1, *truth.shape[2:])
    posterior = encode_posterior(config, params, flat)
    if config.stage == "autoencoder":
        decoded = decode_raw(config, params, draw(posterior, key_latent))
    else:
        # Encoder and projection stay as they are
        latents = jax.lax.stop_gradient(to_diffusion(config, draw(posterior, key_latent)))
        fixed = {"autoencoder": jax.lax.stop_gradient(params["autoencoder"]), "tiny_decoder": params["tiny_decoder"]}
        decoded = decode_tiny(config, fixed, latents)
    decoded = jnp.clip(decoded, -1.0, 1.0)
    weights = config.losses
    metrics = {"reconstruction": jnp.mean((decoded - flat) ** 2), "kl": jnp.mean(divergence(posterior))}
    total = weights.reconstruction * metrics["reconstruction"]
    if weights.kl and config.stage == "autoencoder":
        total += weights.kl * metrics["kl"]
    if config.reconstructor and weights.rendering:
        model = frozen["reconstructor"]
        grids = decoded.reshape(*lead, *decoded.shape[1:])
        value, terms = family(model.config).grid_loss(model.config, model.frozen, grids, batch, key_views, step)
        metrics |= {"rendering": value} | {f"rendering_{name}": term for name, term in terms.items() if name != "loss"}
        total += weights.rendering * value
    if not config.reconstructor and weights.perceptual:
        pair = (decoded + 1) / 2, (flat + 1) / 2
        metrics["perceptual"] = jnp.mean(lpips(frozen["lpips"], *pair, precision="default"))
        total += weights.perceptual * metrics["perceptual"]
    return total, metrics | {"loss": total}


def encoded_arrays(config: GSVAEConfig, frozen: Frozen, batch: Batch) -> Float[Array, "b v h w c"]:
    """Returns what of a batch is encoded, in [−1, 1]: grids of its input views without gradient, or the views."""
    if not config.reconstructor:
        return 2 * jnp.asarray(batch.inputs.images) - 1
    model = frozen["reconstructor"]
    return jax.lax.stop_gradient(family(model.config).grids(model.config, model.params, model.frozen, batch.inputs))
