"""Datasets of posed views: record stores, the split, and the pipeline that makes training batches.

What is here is listed in `__init__.pyi` and imported when it is first asked for: settings cost no image library.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
