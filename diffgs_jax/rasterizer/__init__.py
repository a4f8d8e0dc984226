"""Gaussians to pixels: project, bin, blend, with one custom VJP; the dense reference beside it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
