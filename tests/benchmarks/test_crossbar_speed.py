"""What the crossbar's effects cost beside the same product without them: ``pytest -m benchmark -n 0 -s``."""

import jax
import jax.numpy as jnp
import pytest

from analogsim import ADC, DAC, Hardware
from analogsim.converters import SARADC, BitSerialDAC, PipelineADC, RampADC
from analogsim.devices import PCM, BitSlices, Crossbar, Differential, Wires, WriteVerify
from analogsim.devices.crossbar.wires import effective_conductance, solve
from analogsim.signal_path import multiply, program
from analogsim.signal_path.operators import MatrixProduct
from tests.benchmarks.timing import report

pytestmark = pytest.mark.benchmark


def product(hardware, read_noise=True, n=1024, batch=128):
    """A compiled ``batch`` x n x n product on freshly programmed hardware."""
    x = jax.random.normal(jax.random.key(0), (batch, n))
    weights = jax.random.normal(jax.random.key(1), (n, n))
    operator = MatrixProduct((1,), (0,), 2, weights.shape)
    reading = program(hardware, weights, jax.random.key(2)).read(86400.0, read_noise=read_noise)
    run = jax.jit(lambda r, x, key: multiply(hardware, r, x, operator, key=key))
    return lambda: run(reading, x, jax.random.key(3))


def test_read_noise():
    """Read noise by moments must cost at most five times the noiseless product."""
    x, w = jax.random.normal(jax.random.key(0), (128, 1024)), jax.random.normal(jax.random.key(1), (1024, 1024))
    plain = jax.jit(jnp.matmul)
    hardware = Hardware(store=Crossbar(cell=PCM()), rows=1024, columns=1024)
    report("1024 x 1024 on one tile, 128 vectors, no converters", {
        "plain matmul": lambda: plain(x, w),
        "noiseless": product(hardware, read_noise=False),
        "read noise": product(hardware),
    }, "noiseless")  # fmt: skip


def test_converters_and_slices():
    """Circuits with mismatch, bit-serial inputs, bit slices."""
    base = Hardware(store=Crossbar(cell=PCM()), dac=DAC(bits=8), adc=ADC(bits=8))
    mismatch = dict(bits=8, capacitor_mismatch=0.02, comparator_offset=0.01)
    slices = {"store.mapping": Differential(slices=BitSlices(widths=(4, 4)))}
    report("512 x 512, 128 vectors, 8 bits, read noise", {
        "uniform ADC": product(base, n=512),
        "ramp": product(base.replace(adc=RampADC(**mismatch)), n=512),
        "SAR": product(base.replace(adc=SARADC(**mismatch)), n=512),
        "pipeline": product(base.replace(adc=PipelineADC(**mismatch)), n=512),
        "bit-serial inputs, 7 steps": product(base.replace(dac=BitSerialDAC(bits=8)), n=512),
        "the same, added as charge": product(base.replace(dac=BitSerialDAC(bits=8, accumulation="analog")), n=512),
        "two slices a weight": product(base.replace(**slices), n=512),
    }, "uniform ADC")  # fmt: skip


def test_wires():
    """The exact network of 128 x 128 with 2.93 ohm for 128 vectors, and effective matrices."""
    wires = Wires(word_line_ohm=2.93, bit_line_ohm=2.93)

    def cells(n):
        return jax.random.uniform(jax.random.key(n), (n, n), minval=1e-6, maxval=100e-6)

    v = jax.random.uniform(jax.random.key(0), (128, 128))
    report("resistive lines, 2.93 ohm", {
        "128 x 128, 128 vectors": lambda: solve(wires, cells(128), v).currents,
        "matrix of 128 x 128": lambda: effective_conductance(wires, cells(128)),
        "matrix of 256 x 256": lambda: effective_conductance(wires, cells(256)),
    }, "128 x 128, 128 vectors", repeats=5)  # fmt: skip


def test_writing():
    """ProgrammingMode 512 x 512 pairs as published and in a closed loop."""
    weights = jax.random.uniform(jax.random.key(0), (512, 512), minval=-1)
    write = jax.jit(lambda store, key: store.program(key, weights))
    loop = WriteVerify(window=0.5e-6, pulse_noise_floor=0.5e-6)
    report("programming 512 x 512 pairs", {
        "as published": lambda: write(Crossbar(cell=PCM()), jax.random.key(1)),
        "closed loop": lambda: write(Crossbar(cell=PCM(), write_verify=loop), jax.random.key(1)),
    }, "as published", repeats=5)  # fmt: skip
