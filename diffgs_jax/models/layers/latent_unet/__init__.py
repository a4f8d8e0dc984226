"""The U-Nets of latent diffusion, on one picture or on the views of an object, and their ControlNets."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
