"""The version of this package."""

import importlib.metadata

try:
    __version__ = importlib.metadata.version("diffgs_jax")
except importlib.metadata.PackageNotFoundError:  # run from its sources
    __version__ = "0+unknown"
