"""Strict JAX settings for every test, and the fixtures they share."""

import os

# Before jax starts: several CPU devices, so that sharding can be tested anywhere.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "allow")


@pytest.fixture
def key():
    """One fixed key; tests fold in their own numbers."""
    return jax.random.key(20)
