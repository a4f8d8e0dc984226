"""Pallas tile kernels for Gaussian splatting: arrays in, arrays out; imports nothing of diffgs_jax."""
