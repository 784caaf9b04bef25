"""Arrays behind resistive lines, in stores and in layers; the network itself is held to its references elsewhere."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import Hardware, InputError, program
from analogsim.converters import BitSerialDAC, PulseWidthDAC
from analogsim.devices import BitSlices, Crossbar, Differential, GenericCell, MiloReRAM, Offset, Wires
from analogsim.linen import AnalogDense
from analogsim.signal_path import multiply, programmed
from analogsim.signal_path.operators import MatrixProduct
from tests.support.cells import stored

CELL = GenericCell(g_min=2e-6, g_max=100e-6)
WIRES = Wires(word_line_ohm=3.0, bit_line_ohm=5.0)
M, N = 9, 4


WEIGHTS = np.linspace(-1, 1, M * N, dtype=np.float32).reshape(M, N)
OPERATOR = MatrixProduct((1,), (0,), 2, (M, N))


def lines(store, weights=WEIGHTS):
    return np.asarray(stored(store, jax.random.key(0), weights, 0.0).mean)


@functools.partial(jax.jit, static_argnames="operator")
def multiplied(hardware, reading, x, operator):
    return multiply(hardware, reading, x, operator, key=None)


def dense_currents(g, word, bit):
    """Currents of unit voltages on each row, ``[m, n]``, by one dense Laplacian of all nodes, in float64."""
    m, n = g.shape
    size = 2 * m * n
    a, s = np.zeros((size, size)), np.zeros((size, m))

    def w(i, j):
        return i * n + j

    def b(i, j):
        return m * n + i * n + j

    def connect(p, q, conductance):
        for here, there in ((p, q), (q, p)):
            a[here, here] += conductance
            a[here, there] -= conductance

    for i in range(m):
        for j in range(n):
            connect(w(i, j), b(i, j), g[i, j])
            if j + 1 < n:
                connect(w(i, j), w(i, j + 1), 1 / word)
            if i + 1 < m:
                connect(b(i, j), b(i + 1, j), 1 / bit)
        a[w(i, 0), w(i, 0)] += 1 / word
        s[w(i, 0), i] = 1 / word
    for j in range(n):
        a[b(m - 1, j), b(m - 1, j)] += 1 / bit  # to ground
    v = np.linalg.solve(a, s)
    return np.array([[v[b(m - 1, j), i] / bit for j in range(n)] for i in range(m)])


def targets(mapping=Differential()):  # noqa: B008
    return np.asarray(mapping.conductances(WEIGHTS, CELL.g_min, CELL.g_max), np.float64)


def test_two_arrays_by_a_dense_laplacian():
    plus, minus = (dense_currents(g, 3.0, 5.0) for g in targets())
    held = lines(Crossbar(cell=CELL, wires=WIRES))
    np.testing.assert_allclose(held, (plus - minus) / 98e-6, rtol=2e-5, atol=2e-6)
    assert np.abs(held - WEIGHTS).max() > 0.01  # the lines do take something


SLICED = Differential(slices=BitSlices(widths=(3, 2)))


def test_every_plane_is_an_array_of_its_own():
    arrays = [dense_currents(g, 3.0, 5.0) for g in targets(SLICED)]  # plus 0, plus 1, minus 0, minus 1
    expected = np.concatenate([arrays[0] - arrays[2], arrays[1] - arrays[3]], axis=1) / 98e-6
    held = lines(Crossbar(cell=CELL, wires=WIRES, mapping=SLICED))
    np.testing.assert_allclose(held, expected, rtol=2e-5, atol=2e-6)


def test_interleaved_columns_of_every_plane_by_a_dense_laplacian():
    held = lines(Crossbar(cell=CELL, wires=WIRES, mapping=SLICED, polarities="interleaved"))
    for plane in range(2):
        joined = np.empty((M, 2 * N))
        joined[:, 0::2], joined[:, 1::2] = targets(SLICED)[plane], targets(SLICED)[2 + plane]
        currents = dense_currents(joined, 3.0, 5.0)
        expected = (currents[:, 0::2] - currents[:, 1::2]) / 98e-6
        np.testing.assert_allclose(held[:, plane * N : (plane + 1) * N], expected, rtol=2e-5, atol=2e-6)


def test_a_unit_column_is_the_last_of_its_array():
    mapping = Offset(subtraction="unit column")
    (array,) = (dense_currents(g, 3.0, 5.0) for g in targets(mapping))
    held = lines(Crossbar(cell=CELL, wires=WIRES, mapping=mapping))
    np.testing.assert_allclose(held, array / 98e-6, rtol=2e-5, atol=2e-6)


def test_layers_multiply_with_what_the_lines_leave():
    hardware = Hardware(store=Crossbar(cell=CELL, wires=WIRES), scaling="tile")
    model = AnalogDense(N, hardware=hardware, use_bias=False)
    x = np.round(np.cos(np.arange(3.0 * M)).reshape(3, M) * 127).astype(np.float32) / 127
    x[:, 0] = 1.0
    chip = program(model, {"params": {"kernel": WEIGHTS}}, jax.random.key(0), x).at(0.0, read_noise=False)
    plus, minus = (dense_currents(g, 3.0, 5.0) for g in targets())
    expected = x.astype(np.float64) @ (plus - minus) / 98e-6
    np.testing.assert_allclose(jax.jit(model.apply)(chip.variables, x), expected, rtol=1e-4, atol=2e-5)
    reading = chip.readings["analog"]["array"].reading  # the same tiles, fed in other ways
    for dac in (PulseWidthDAC(bits=8), BitSerialDAC(bits=8)):
        y = multiplied(hardware.replace(dac=dac), reading, x, OPERATOR)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=2e-5, err_msg=str(dac))


@pytest.mark.parametrize("mapping", [Differential(), SLICED], ids=["separate", "interleaved"])
def test_lines_without_resistance_change_nothing(mapping):
    perfect = Crossbar(cell=CELL, wires=Wires(word_line_ohm=0.0, bit_line_ohm=0.0), mapping=mapping)
    if mapping is SLICED:
        perfect = perfect.replace(polarities="interleaved")
    np.testing.assert_allclose(lines(perfect), jax.jit(perfect.ideal_columns)(WEIGHTS), atol=1e-6)


def test_the_noise_of_reads_shrinks_with_its_share():
    # One cell, the others open: a divider. M = G/(1 + G R) with R = 3 + 5 ohm, so its standard deviation is that of G
    # times (1 + G R)^-2.
    store = Crossbar(cell=GenericCell(g_min=0.0, g_max=1e-2, read_noise=0.01), wires=WIRES)
    weights = np.zeros((M, N), np.float32)
    weights[-1, 0] = 1.0  # nearest to its driver and its readout
    held = stored(store, jax.random.key(0), weights, 0.0)
    mean, variance = (float(np.asarray(a)[-1, 0]) for a in (held.mean, held.variance))
    assert mean == pytest.approx(1 / 1.08, rel=1e-4)
    # The published estimate takes the two dividers one after the other: 1/((1 + 3 G)(1 + 5 G)) = 1/(1.03 1.05).
    assert variance == pytest.approx((0.01 / (1.03 * 1.05)) ** 2, rel=1e-3)
    assert variance == pytest.approx((0.01 / 1.08**2) ** 2, rel=2 * 8 * 1e-2 + 0.01)


def test_gradients_pass_the_network():
    x = np.ones((2, M), np.float32)

    def loss(ohm, kernel):
        hardware = Hardware(store=Crossbar(cell=CELL, wires=Wires(word_line_ohm=ohm, bit_line_ohm=5.0)))
        layer = AnalogDense(N, hardware=hardware, use_bias=False)
        y = layer.apply({"params": {"kernel": kernel}}, x, rngs={"analog": jax.random.key(0)})
        return jnp.sum(y**2), y

    both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (_, y), (by_ohm, by_kernel) = both(3.0, WEIGHTS)
    finite = (float(both(3.3, WEIGHTS)[0][0]) - float(both(2.7, WEIGHTS)[0][0])) / 0.6
    assert float(by_ohm) == pytest.approx(finite, rel=0.02)
    np.testing.assert_allclose(by_kernel, x.T @ (2 * np.asarray(y)), rtol=1e-4)  # straight through to the weights


@pytest.mark.slow
def test_lines_that_cannot_be_solved_are_refused():
    wires = Wires(word_line_ohm=1e6, bit_line_ohm=1e6)
    model = AnalogDense(64, hardware=Hardware(store=Crossbar(cell=CELL, wires=wires)), use_bias=False)
    kernel = np.cos(np.arange(64 * 64, dtype=np.float32)).reshape(64, 64)
    with pytest.raises(InputError, match="the network of wire resistances was not solved"):
        program(model, {"params": {"kernel": kernel}}, jax.random.key(1), np.ones((1, 64), np.float32))


def test_what_wires_cannot_be_joined_with_is_refused():
    with pytest.raises(InputError, match=r"Crossbar.wires = .*: must be None for MiloReRAM"):
        Crossbar(cell=MiloReRAM(), wires=WIRES)
    with pytest.raises(InputError, match=r"polarities = 'interleaved': must be 'separate' for Offset"):
        Crossbar(mapping=Offset(), polarities="interleaved")
    with pytest.raises(InputError, match=r"polarities = 'interleaved': must be 'separate' without wires"):
        Crossbar(polarities="interleaved")


# --- cells whose current is not proportional to the voltage -----------------------------------------------------------


@functools.cache
def bending():
    """A column of two pairs, 62.5 beside 50 uS and 50 beside 50, read at 0.5 V."""
    cell = MiloReRAM(g_min=50e-6, g_max=62.5e-6, read_voltage_v=0.5, programming_noise=0.0)
    weights = np.array([[1.0], [0.0]], np.float32)
    hardware = Hardware(store=Crossbar(cell=cell), scaling="tile")
    return hardware, jax.jit(lambda: programmed.program(hardware, weights, jax.random.key(0)).read(0.0))()


@pytest.mark.parametrize(
    ("dac", "expected"),
    [
        # A cell of 62.5 uS read at 0.5 V: I/(G V) = 0.847 (tabulated); half the input sees a quarter of the square.
        (PulseWidthDAC(bits=2), lambda x, a2, a3, g: x * (g + 0.5 * a2 + 0.25 * a3)),
        (None, lambda x, a2, a3, g: x * g + x * abs(x) * 0.5 * a2 + x**3 * 0.25 * a3),
    ],
)
def test_the_current_law_reaches_the_output(dac, expected):
    hardware, reading = bending()
    x = np.array([[1.0, 0.0], [0.5, 1.0], [-0.5, -1.0]] if dac is None else [[1.0, 0.0], [1.0, -1.0]], np.float32)
    outputs = multiplied(hardware.replace(dac=dac), reading, x, MatrixProduct((1,), (0,), 2, (2, 1)))
    y = np.asarray(outputs, np.float64)[:, 0]

    def law(g):
        level = np.log10(g)  # of siemens, as published
        a2 = np.polyval([1.388e-4, 1.541e-3, 5.711e-3, 7.063e-3], level)
        return a2, np.polyval([8.871e-5, 6.7919e-4, 1.2968e-3], level)

    assert (1 + (0.5 * law(62.5e-6)[0] + 0.25 * law(62.5e-6)[1]) / 62.5e-6) == pytest.approx(0.847, abs=1e-3)
    for found, row in zip(y, x.astype(np.float64), strict=True):
        # Row 0 is a pair of 62.5 and 50 uS; row 1 one of 50 and 50, whose difference is nothing.
        plus, minus = (expected(row[0], *law(g), g) for g in (62.5e-6, 50e-6))
        assert found == pytest.approx((plus - minus) / 12.5e-6, rel=2e-3)
