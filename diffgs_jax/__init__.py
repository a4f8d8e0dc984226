"""Images and words in, 3D Gaussians out, in JAX.

import diffgs_jax

pipeline = diffgs_jax.load()
gaussians = pipeline("image.png").gaussians
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
