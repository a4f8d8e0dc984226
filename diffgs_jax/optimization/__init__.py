"""Gaussians as parameters: fitted to posed images by gradient descent, growing and moving on the way.

What is here is listed in `__init__.pyi` and imported when it is first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
