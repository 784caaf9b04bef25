"""The version that is installed; a room that records it need not import the whole package."""

import importlib.metadata

try:
    __version__ = importlib.metadata.version("analogsim-jax")
except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"
