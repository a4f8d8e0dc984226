"""Terms that model families share: renderings compared with views, LPIPS, SSIM, and weights that change with time."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
