"""The installed version, in a separate module, so that modules can record it without importing the whole package."""

import importlib.metadata

try:
    __version__ = importlib.metadata.version("analogsim-jax")
except importlib.metadata.PackageNotFoundError:  # a source checkout that is not installed
    __version__ = "0+unknown"
