"""Pictures in, 3D Gaussians out: DiffusionGS in JAX."""

from diffgs_jax.geometry import Cameras, Gaussians

__all__ = ["Cameras", "Gaussians"]
