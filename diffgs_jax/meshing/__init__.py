"""From Gaussians to triangles: a surface with the splat's silhouettes, and files for and from other tools."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
