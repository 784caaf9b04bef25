"""How long meshes take: a 64 x 64 unitary apart and together, and 256 examples through a 64 x 64 layer beside Dense.

Goals: under a second after compilation, and at most three times the plain layer.
"""

import time

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from analogsim import preset, program
from analogsim.devices.photonic.mesh import decompose, haar, rebuild
from analogsim.linen import AnalogDense, MeshDense

pytestmark = pytest.mark.benchmark


def best(function, *arguments, rounds=200):
    """Shortest of many calls, seconds; compiled before."""
    jax.block_until_ready(function(*arguments))
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@pytest.mark.parametrize("double", [False, True])
def test_apart_and_together(double):
    with jax.enable_x64(double):
        u = haar(jax.random.key(0), 64, jnp.complex128 if double else jnp.complex64)
        both = jax.jit(lambda u: rebuild(decompose(u)))
        seconds = best(both, u, rounds=20)
        off = float(jnp.linalg.norm(both(u) - u) / 8)
    print(f"\n64 x 64, {'double' if double else 'single'} precision: {1e3 * seconds:.1f} ms, {off:.1g} off")


@pytest.mark.parametrize("tile", [32, 64])
def test_a_layer_beside_dense(tile):
    x = jax.random.normal(jax.random.key(0), (256, 64))
    layer = AnalogDense(64, hardware=preset("mzi-mesh", rows=tile, columns=tile))
    variables = nn.Dense(64).init(jax.random.key(1), x)
    chip = program(layer, variables, jax.random.key(2), x)
    plain = best(jax.jit(nn.Dense(64).apply), variables, x)
    on_chip = jax.jit(lambda v, x, key: layer.apply(v, x, rngs={"analog": key}))
    light = best(on_chip, chip.variables, x, jax.random.key(3))
    bare = AnalogDense(64, hardware=layer_hardware(tile))
    quiet = best(on_chip_of(bare), program(bare, variables, jax.random.key(2), x).variables, x, jax.random.key(3))
    print(
        f"\n256 x 64 through {tile} x {tile} meshes: Dense {1e6 * plain:.0f} us, without noise and converters "
        f"{1e6 * quiet:.0f} us ({quiet / plain:.2f} x), with them {1e6 * light:.0f} us ({light / plain:.2f} x)"
    )


def layer_hardware(tile):
    """The mesh alone: no converters, nothing random in a read."""
    return preset("mzi-mesh", rows=tile, columns=tile, **{"store.detector": None, "dac": None, "adc": None})


def on_chip_of(layer):
    return jax.jit(lambda v, x, key: layer.apply(v, x, rngs={"analog": key}))


def test_a_layer_trained_in_place_beside_dense():
    x = jax.random.normal(jax.random.key(0), (256, 64))
    layer = MeshDense(64, mesh=preset("mzi-mesh").store, use_bias=False)
    variables = layer.init({"params": jax.random.key(1), "chip": jax.random.key(2)}, x)
    forward = best(jax.jit(layer.apply), variables, x)
    gradient = best(jax.jit(jax.grad(lambda v: layer.apply(v, x).sum(), allow_int=True)), variables, rounds=20)
    plain = best(jax.jit(nn.Dense(64).apply), nn.Dense(64).init(jax.random.key(1), x), x)
    print(
        f"\n64 x 64 by its phases: {1e3 * forward:.2f} ms, gradient {1e3 * gradient:.2f} ms; Dense {1e6 * plain:.0f} us"
    )
