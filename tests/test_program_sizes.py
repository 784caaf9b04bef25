"""Six programs stay as small as they are: counts of operations, which no busy machine changes.

The model has a layer on two rows of tiles and one on a single tile. Its arrays are small: the number of operations does
not depend on their sizes, but on layers and sources of noise. The limits are in ``program_limits.toml``, and those of
compilations are held by ``chips/test_programs_per_task.py``.
"""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from analogsim import FreshChip, LearnedRange, calibrate, convert, preset
from analogsim.chips.chip import read
from analogsim.models.bound import bind
from analogsim.training import AdditiveNoise, DeviceNoise, clip_weights
from tests.support.limits import LIMITS

X = np.linspace(-1, 1, 8 * 24, dtype=np.float32).reshape(8, 24)
OPERATION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = ", re.MULTILINE)


class Net(nn.Module):
    """Two layers: 24 inputs on two rows of tiles, 12 on one."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(nn.relu(nn.Dense(12)(x)))


@functools.cache
def calibrated():
    """The model on hardware, and its variables with ranges."""
    hardware = preset("pcm", rows=12, input_range=LearnedRange())
    variables = calibrate(convert(Net(), hardware), Net().init(jax.random.key(0), X), X)
    return hardware, variables


def training_step(training):
    hardware, variables = calibrated()
    model = convert(Net(), hardware.replace(training=training))
    tx = optax.chain(optax.sgd(0.01), clip_weights(sigmas=2.5))

    def step(variables, state, x, key):
        loss = lambda v: jnp.mean(model.apply(v, x, rngs={"analog": key}) ** 2)  # noqa: E731
        updates, state = tx.update(jax.grad(loss)(variables), state, variables)
        return optax.apply_updates(variables, updates), state

    return step, (variables, tx.init(variables), X, jax.random.key(1))


def programs():
    """Every program as a function and its arguments."""
    hardware, variables = calibrated()
    model = convert(Net(), hardware)
    bound = bind(model, variables)
    cells = jax.eval_shape(bound.program, jax.random.key(2))
    readings = jax.eval_shape(lambda c: read(c, 3600.0, None, True), cells)
    return {
        "training_step_with_weight_noise": lambda: training_step(AdditiveNoise(std=0.05)),
        "training_step_with_device_noise": lambda: training_step(DeviceNoise(time_s="1 h")),
        "training_step_on_a_fresh_chip": lambda: training_step(FreshChip(time_s="1 h")),
        "inference_on_a_chip": lambda: (
            lambda v, r, x, key: model.apply({**v, "analog": r}, x, rngs={"analog": key}),
            (variables, readings, X, jax.random.key(3)),
        ),
        "programming_a_chip": lambda: (bound.program, (jax.random.key(4),)),
        "reading_a_chip": lambda: (lambda c, t: read(c, t, None, True), (cells, 3600.0)),
    }


@pytest.mark.parametrize("name", LIMITS["operations"])
def test_a_program_is_no_larger_than_its_limit(name):
    function, arguments = programs()[name]()
    text = jax.jit(function).lower(*arguments).compile().as_text()
    operations, limit = len(OPERATION.findall(text)), LIMITS["operations"][name]
    assert operations <= limit
    # A limit that a smaller program leaves far behind guards nothing.
    assert operations > 0.8 * limit, f"lower the limit of {name} in program_limits.toml to {operations} and a tenth"
