"""Published datasets in their published layouts, read one record at a time and brought into our conventions.

What is here is listed in `__init__.pyi` and imported when it is first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
