"""Gradients of outputs with respect to the hardware's numbers, against finite differences and by hand."""

import functools
import math

import jax
import numpy as np
import pytest

from analogsim import ADC, Hardware
from analogsim.devices import (
    PCM,
    Crossbar,
)
from tests.support.signal_path import draw, ones, run

DAY_S = 86400.0

FIELDS = [
    "store.cell.read_noise", "store.cell.programming_noise", "store.cell.drift", "store.cell.drift_reference_s",
    "store.cell.read_time_s", "store.cell.g_min", "store.cell.g_max", "adc.noise",
]  # fmt: skip


@functools.cache
def sensitivity():
    """Hardware with every kind of noise, and its mean squared output with the gradient for each of its leaves."""
    key = jax.random.key(9)
    weights, x = draw(12, 7), draw(30, 12, seed=21)
    weights[0] = 0  # cells in RESET, where logarithms and powers are at their worst
    # 24 bits, so that the staircase is finer than the differences.
    hardware = Hardware(store=Crossbar(cell=PCM(g_min=5e-6, g_max=20e-6)), adc=ADC(bits=24, range=20.0, noise=0.3))
    loss = lambda h: (run(h, weights, x, key, DAY_S) ** 2).mean()  # noqa: E731
    return hardware, jax.jit(jax.value_and_grad(loss, allow_int=True))


@pytest.mark.parametrize("name", FIELDS)
def test_the_gradient_with_respect_to_the_hardware_is_that_of_finite_differences(name):
    hardware, loss = sensitivity()
    leaf = lambda h: functools.reduce(getattr, name.split("."), h)  # noqa: E731
    # Conductances move cells across the cut at zero, a kink that a large step would smear.
    step, value = 0.005 if ".g_" in name else 0.05, leaf(hardware)
    up, down = (float(loss(hardware.replace(**{name: value * (1 + sign * step)}))[0]) for sign in (1, -1))
    by_jax = float(leaf(loss(hardware)[1])) * value
    # Float32 sums leave a few 1e-7 of the loss, divided by the step.
    assert by_jax == pytest.approx((up - down) / (2 * step), rel=0.02, abs=1e-6 * up / step)
    assert abs(by_jax) > 1e-4 * up


@pytest.mark.parametrize(
    "off", [None, "store.cell.programming_noise", "store.cell.read_noise", "store.cell.drift", "adc.noise"]
)
def test_every_leaf_of_the_hardware_has_a_finite_gradient(off):
    # Also where a sweep over a noise level begins: at none.
    hardware, loss = sensitivity()
    gradients = loss(hardware.replace(**{off: 0.0} if off else {}, **{"store.cell.g_min": 0.0}))[1]
    for path, value in jax.tree_util.tree_leaves_with_path(gradients):
        if value.dtype != jax.dtypes.float0:
            assert np.isfinite(value), jax.tree_util.keystr(path)


def test_the_gradient_of_converter_noise_by_hand():
    # E y^2 = signal^2 + (s scale range)^2 with scale 3 and range 2, so d/ds = 2 s x 36 x mean of xi^2.
    n, noise = 20_000, 0.5
    weights, x = 3 * ones(4, 1), np.float32([2, -2, 2, -2]) * ones(n, 1)

    def power(s):
        hardware = Hardware(adc=ADC(bits=24, range=100.0, noise=s))
        return (run(hardware, weights, x, jax.random.key(10)) ** 2).mean()

    gradient = float(jax.jit(jax.grad(power))(noise))
    assert abs(gradient / (2 * noise * 36) - 1) < 4 * math.sqrt(2 / n)
