"""Products inside of the emulation are computed in full precision on every backend.

By default GPUs and TPUs multiply float32 matrices in TF32 or bfloat16, with 8 to 11 bits: fewer than a 12-bit code.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import Hardware
from analogsim.codecs import decode, left_orthogonal
from analogsim.converters import ADC, BitSerialDAC
from analogsim.devices import PCM, BitSlices, Crossbar, Differential, GenericCell, MZIMesh, Offset, RingBank, Wires
from analogsim.devices.crossbar import line_solver
from analogsim.devices.quantum import AmplitudeRegister, holevo_bits
from analogsim.devices.quantum.multilevel import capacity_bits, mutual_information_bits
from analogsim.factors.trains import norm, rounded
from analogsim.signal_path import multiply, program
from analogsim.signal_path.operators import MatrixProduct

M, N = 8, 6
WEIGHTS = jnp.asarray(np.linspace(-1, 1, M * N, dtype=np.float32).reshape(M, N))
X = jnp.asarray(np.linspace(-1, 1, 4 * M, dtype=np.float32).reshape(4, M))
OPERATOR = MatrixProduct((1,), (0,), 2, (M, N))
CORES = tuple(jnp.ones(shape) for shape in ((1, 2, 3, 2), (2, 2, 1, 2), (2, 2, 2, 1)))
ON_ONE_WIRE = BitSlices(widths=(2, 2), sum="analog")


def products(jaxpr):
    """Yield every product of a program and of the programs in it: its name and its precision."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            yield str(equation), equation.params["precision"]
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from products(inner)


def assert_full_precision(function, *arguments):
    found = list(products(jax.make_jaxpr(function)(*arguments).jaxpr))
    assert found
    highest = (jax.lax.Precision.HIGHEST, (jax.lax.Precision.HIGHEST,) * 2)
    assert [name for name, precision in found if precision not in highest] == []


HARDWARE = {
    "fluctuating cells": Hardware(store=Crossbar(cell=GenericCell(read_noise=0.02, spectrum="1/f"))),
    "sampled cells": Hardware(store=Crossbar(cell=PCM()), sampling="cells"),
    "bit-serial input": Hardware(store=Crossbar(cell=PCM()), dac=BitSerialDAC(bits=4), adc=ADC(bits=8)),
    "lasting noise": Hardware(
        store=Crossbar(cell=GenericCell(read_noise=0.02, spectrum="1/f")), dac=BitSerialDAC(bits=4), adc=ADC(bits=8)
    ),
    "slices on one wire": Hardware(store=Crossbar(cell=PCM(), mapping=Differential(slices=ON_ONE_WIRE))),
    "offset slices": Hardware(store=Crossbar(cell=PCM(), mapping=Offset(slices=ON_ONE_WIRE))),
    "lines": Hardware(store=Crossbar(cell=PCM(), wires=Wires(word_line_ohm=1.0, bit_line_ohm=1.0))),
    "mesh": Hardware(store=MZIMesh()),
    "rings": Hardware(store=RingBank()),
}


@pytest.mark.parametrize("name", HARDWARE)
def test_a_layer_and_its_gradients(name, key):
    hardware = HARDWARE[name]

    def total(weights, x):
        return jnp.sum(multiply(hardware, program(hardware, weights, key).read(60.0), x, OPERATOR, key=key))

    assert_full_precision(jax.grad(total, (0, 1)), WEIGHTS, X)


def test_the_voltages_of_long_lines():
    def currents(g):
        ohm = [jnp.ones(n, g.dtype) for n in reversed(g.shape)]
        net = line_solver.network(g[:, :, None], *ohm)
        return line_solver.fields(net, jnp.eye(M), 1e-6, 9, slow=line_solver.slow_modes(net)).currents

    assert_full_precision(currents, 1 + WEIGHTS)


def test_registers_and_levels():
    register = AmplitudeRegister()
    assert_full_precision(lambda x: register.overlap(register.encode(x), WEIGHTS[0], 1e-6), WEIGHTS[1])
    assert_full_precision(capacity_bits, jnp.eye(4))
    assert_full_precision(mutual_information_bits, jnp.eye(4))
    assert_full_precision(holevo_bits, jnp.full(2, 0.5), jnp.stack([jnp.eye(2)] * 2) / 2)


@pytest.mark.parametrize("function", [decode, left_orthogonal, norm, lambda cores: rounded(cores, rank=1)])
def test_trains_of_cores(function):
    assert_full_precision(function, CORES)
