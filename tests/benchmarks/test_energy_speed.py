"""How long pricing a network takes: a ResNet-50 by its shapes, the first time and again. Goal: under two seconds."""

import time

import jax
import jax.numpy as jnp
import pytest

from analogsim import convert, preset
from analogsim.energy import compare
from analogsim.training.recipes.large_networks import AlexNet, ResNet50

pytestmark = pytest.mark.benchmark


@pytest.mark.parametrize(("network", "size"), [(ResNet50(), 224), (AlexNet(), 227)], ids=["resnet50", "alexnet"])
def test_pricing_a_network(network, size):
    x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    model, variables = convert(network, preset("pcm")), jax.eval_shape(network.init, jax.random.key(0), x)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        compare(model, variables, x)
        seconds.append(time.perf_counter() - start)
    print(f"\n{type(network).__name__}: first {seconds[0]:.2f} s, then {min(seconds[1:]):.2f} s")
