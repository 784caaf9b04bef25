"""Lookups on imperfect hardware: one row of one row of tiles is driven fully, whatever the table's size.

With a scale s a column and tile, a row g / s of normalised conductances reads with the mean E[g] and the variance
Var[g] of its own cells, plus one conversion's noise: nothing is added up over tiles.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import ADC, DAC, Hardware, InputError, convert, preset
from analogsim.converters import SARADC, BitSerialDAC, PulseWidthDAC
from analogsim.devices import (
    PCM,
    BitSlices,
    Crossbar,
    Differential,
    GenericCell,
    MiloReRAM,
    Offset,
    ReRAM,
)
from analogsim.signal_path import Ranges, multiply, program
from analogsim.signal_path.lookup import lookup
from analogsim.signal_path.operators import Lookup, MatrixProduct
from tests.support.sampling import assert_moments, censored
from tests.support.signal_path import Trembling

KEY = jax.random.key(30)
#: 3 x 2 tiles of 4 x 3: rows 0-3, 4-7, 8-9.
TABLE = np.random.default_rng(31).normal(size=(10, 5)).astype(np.float32)
TILES = dict(rows=4, columns=3)
IDS = np.array([[9, 0, 4], [4, -1, -10]])


def held(hardware, table=TABLE, key=KEY):
    return program(hardware, table, key)


def read(hardware, ids, table=TABLE, key=KEY, ranges=Ranges(), time_s=0.0):  # noqa: B008
    """Rows of a freshly written table."""
    return written_and_read(hardware, ids, table, KEY, key, ranges, time_s)


@jax.jit
def written_and_read(hardware, ids, table, key, read_key, ranges, time_s):
    reading = held(hardware, table, key).read(time_s)
    return lookup(hardware, reading, ids, Lookup(len(table)), key=read_key, dtype=table.dtype, ranges=ranges)


def scales(table=TABLE):
    """The largest weight of each column of each tile, ``[R, n_out]``."""
    return np.stack([np.abs(table[i : i + 4]).max(0) for i in range(0, len(table), 4)])


# --- which row -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "rows"), [(jnp.int8, 200), (jnp.uint8, 200), (jnp.uint8, 300), (jnp.int32, 300), (jnp.uint32, 300)]
)
def test_numbers_of_any_type_find_their_row(dtype, rows):
    """Also where the number of rows does not fit the type. Against indexing by NumPy, with NaN beyond the table."""
    table = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
    numbers = [0, 1, 99, 127] + ([-1, -128] if jnp.iinfo(dtype).min else [199, 201, 255]) + (
        [rows, rows - 1] if jnp.iinfo(dtype).max > rows else []
    ) + ([2**32 - 1] if dtype is jnp.uint32 else [])  # fmt: skip
    found = np.asarray(read(Hardware(rows=64), np.array(numbers, dtype), table))
    inside = np.array([-rows <= n < rows for n in numbers])
    np.testing.assert_allclose(found[inside], table[np.array(numbers)[inside]], rtol=1e-6)
    assert np.isnan(found[~inside]).all()


@pytest.mark.parametrize("sampling", ["outputs", "cells"])
def test_the_edges_of_a_table(sampling):
    hardware = Hardware(store=Trembling(tremble=0.0), sampling=sampling, **TILES)
    found = np.asarray(read(hardware, np.array([9, 10, -10, -11, 1000, -1])))
    np.testing.assert_allclose(found[[0, 2, 5]], TABLE[[9, 0, 9]], rtol=1e-6)
    assert np.isnan(found[[1, 3, 4]]).all()
    assert read(hardware, np.zeros((2, 0), int)).shape == (2, 0, 5)
    assert jax.eval_shape(read, hardware, 3).shape == (5,)


# --- what noiseless hardware gives -----------------------------------------------------------------------------------

#: Exactly written cells on 1 to 21 uS.
EXACT = GenericCell(g_min="1 uS", g_max="21 uS", programming_sigma=0.0)


SERIAL = BitSerialDAC(bits=6, slice_bits=2)


@pytest.mark.parametrize(
    ("mapping", "levels", "dac"),
    [
        (Differential(sides=2, subtraction="digital"), 1000, SERIAL),
        (Differential(slices=BitSlices(widths=(2, 2))), 15, None),
        (Offset(slices=BitSlices(widths=(2, 2))), 7, SERIAL),
        (Offset(subtraction="unit column"), 1000, None),
    ],
)
def test_every_mapping_and_drive_gives_the_row(mapping, levels, dac):
    """Whole multiples of 1/levels, a column's largest 1, so that digits are exact; the ADCs' range is the hardware's
    for one cell, constant part included: nothing is clipped.
    """
    codes = np.random.default_rng(0).integers(-levels, levels + 1, (10, 5))
    codes[::4] = levels
    table = np.float32(codes / levels)
    hardware = Hardware(store=Crossbar(cell=EXACT, mapping=mapping), adc=ADC(bits=22), dac=dac, **TILES)
    np.testing.assert_allclose(read(hardware, IDS, table), table[IDS], atol=2e-5)


@pytest.mark.parametrize("dac", [DAC(bits=3), PulseWidthDAC(bits=4), BitSerialDAC(bits=4, accumulation="analog")])
def test_a_row_is_driven_by_the_full_code_of_any_converter(dac):
    np.testing.assert_allclose(read(Hardware(dac=dac, **TILES), IDS), TABLE[IDS], rtol=1e-6)


@pytest.mark.parametrize(
    ("adc_range", "calibrated", "used"), [(10.0, None, 1.0), (0.5, None, 0.5), (10.0, 0.6, 0.6), (10.0, 1.4, 1.4)]
)
def test_rows_are_quantised_to_the_range(adc_range, calibrated, used):
    """By numpy: 5 bits are 15 steps to either side. Uncalibrated, the range is one cell, driven fully: 1."""
    hardware = Hardware(adc=ADC(bits=5, range=adc_range), **TILES)
    found = read(hardware, IDS, ranges=Ranges(None if calibrated is None else 1.0, calibrated))
    scale = scales()[IDS % 10 // 4]
    lines = np.clip(TABLE[IDS] / scale, -used, used)
    np.testing.assert_allclose(found, np.round(lines / used * 15) / 15 * used * scale, atol=1e-6)


def test_a_range_for_every_line():
    hardware = Hardware(adc=ADC(bits=20), **TILES)
    limits = np.float32([0.1, 0.5, 1.0])  # of the three columns of a tile: five outputs are 3 + 2
    found = read(hardware, IDS, ranges=Ranges(1.0, limits))
    scale, limit = scales()[IDS % 10 // 4], limits[[0, 1, 2, 0, 1]]
    lines = np.clip(TABLE[IDS] / scale, -limit, limit)
    np.testing.assert_allclose(found, lines * scale, atol=1e-5)


def test_the_converters_of_the_row_s_own_tiles_are_used():
    hardware = Hardware(adc=ADC(bits=24, range=2.0, gain_error=0.2), **TILES)
    gains = np.asarray(held(hardware).converters.gain)  # [R, C, lines]
    of_outputs = gains.reshape(3, -1)[:, :5]  # five outputs are 3 + 2
    assert np.unique(of_outputs).size == 15
    ids = np.array([0, 4, 9])
    lines = np.clip(TABLE[ids] / scales(), -1, 1) * (1 + of_outputs)
    found = read(hardware, ids, ranges=Ranges(1.0, 2.0))
    np.testing.assert_allclose(found, lines * scales(), rtol=1e-5, atol=1e-5)


#: Hardware on which a cell's current is not proportional to the voltage, or converters differ from line to line.
ODD = {
    "non-linear cells": Hardware(store=Crossbar(cell=MiloReRAM())),
    "unequal capacitors": Hardware(adc=SARADC(bits=6, capacitor_mismatch=0.1)),
}


@pytest.mark.parametrize("hardware", ODD.values(), ids=ODD)
def test_a_row_is_the_product_with_a_vector_that_is_one_there(hardware):
    """One tile, so that both ways drive the same lines; the product takes its own road through the signal path."""

    @jax.jit
    def both(hardware, table, ids, x, key):
        reading, ranges = held(hardware, table, key).read(0.5, read_noise=False), Ranges(1.0, 1.5)
        product = multiply(hardware, reading, x, MatrixProduct((2,), (0,), 3, table.shape), key=key, ranges=ranges)
        return lookup(hardware, reading, ids, Lookup(10), key=key, dtype=table.dtype, ranges=ranges), product

    x = np.eye(10, dtype=np.float32)[IDS % 10]
    found, expected = map(np.asarray, both(hardware.replace(adc=hardware.adc or ADC(bits=20)), TABLE, IDS, x, KEY))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - TABLE[IDS]).max() > 1e-3  # the hardware is not ideal


# --- noise -----------------------------------------------------------------------------------------------------------

N = 6000


@functools.cache
def many_reads():
    """Programmed PCM, read a day later: the state, and one row read 2 x N times in one call."""

    @jax.jit
    def written_and_read(table, ids, key, read_key):
        cell = PCM(reading_s=1e6)  # a reading of many days: all noise is drawn for every read
        hardware = Hardware(store=Crossbar(cell=cell), **TILES)
        written = held(hardware, table, key)
        y = lookup(hardware, written.read(86400.0), ids, Lookup(10), key=read_key, dtype=table.dtype)
        return written.state.cells, y

    cells, y = written_and_read(TABLE, np.full((N, 2), 6), KEY, jax.random.key(32))
    return jax.tree.map(np.asarray, cells), np.asarray(y, np.float64)


def test_a_row_has_the_moments_of_its_cells():
    """Row 6 is row 2 of the middle tiles. The published read noise of both cells of a pair, cut at zero:

    G(t) = G_P ((t + 20)/20)^-nu, sigma = G Q sqrt(ln((t + 20 + 250 ns)/(2 x 250 ns))), in units of 25 uS.
    """
    state, y = many_reads()
    since = 86400.0 + 20.0
    for output in range(5):
        cell = (1, output // 3, slice(None), 2, output % 3)  # R, C, pair, row, column
        g = state.conductance[cell].astype(np.float64) * (since / 20.0) ** -state.drift_exponent[cell]
        sigma = g * state.read_noise[cell] * math.sqrt(math.log((since + 250e-9) / 500e-9))
        (plus, plus_std), (minus, minus_std) = (censored(m / 25e-6, s / 25e-6) for m, s in zip(g, sigma, strict=True))
        scale = scales()[1, output]
        assert_moments(y[..., output], scale * (plus - minus), scale * math.hypot(plus_std, minus_std))


def test_the_same_number_twice_is_one_row_read_twice():
    _, y = many_reads()
    off = y.mean((0, 1)) - TABLE[6]
    error = y.std((0, 1)) / math.sqrt(2 * N)
    assert np.all(np.abs(off) > 10 * error)  # the error of writing, and drift, are common to all reads
    assert np.all(np.abs(y[:, 0].mean(0) - y[:, 1].mean(0)) < 4 * error * 2)
    correlated = np.corrcoef(np.concatenate([y[:, 0], y[:, 1]], axis=1).T)
    assert np.abs(correlated - np.eye(10)).max() < 4.5 / math.sqrt(N)  # 45 pairs
    assert abs(np.corrcoef(y[:-1, 0, 0], y[1:, 0, 0])[0, 1]) < 4 / math.sqrt(N)


@pytest.mark.parametrize("sampling", ["outputs", "cells"])
def test_one_tile_alone_is_noisy(sampling):
    """Cells that tremble by 0.1, detection that adds 0.2 and converters that add 0.3, on three tiles along the rows:

    a row has the standard deviation s sqrt(0.1^2 + 0.2^2 + 0.3^2) with the scale s of its own tile, not three times the
    squares.
    """
    store = Trembling(tremble=0.1, hiss=0.2)
    hardware = Hardware(store=store, adc=ADC(bits=20, range=50.0, noise=0.3), sampling=sampling, **TILES)
    n = 4000
    y = np.asarray(read(hardware, np.tile([1, 9], (n, 1)), ranges=Ranges(1.0, 50.0)), np.float64)
    std = math.sqrt(0.01 + 0.04 + 0.09) * scales()[[0, 2]]
    assert np.all(np.abs(y.mean(0) - TABLE[[1, 9]]) < 4 * std / math.sqrt(n))
    assert np.all(np.abs(y.std(0) / std - 1) < 4 / math.sqrt(2 * n))
    assert np.abs(np.corrcoef(y.reshape(n, -1).T) - np.eye(10)).max() < 4.5 / math.sqrt(n)


@pytest.mark.parametrize("sampling", ["outputs", "cells"])
def test_noise_drawn_by_cell_agrees_in_distribution(sampling):
    """Cells that fluctuate by 0.3 of what they hold, w = G/R on 0 to 20 uS: spread 0.3 |w|, cut at 3.3 sigma, where
    the cut moves the mean by less than 1e-4 of it.
    """
    cell = GenericCell(g_min=0.0, g_max="20 uS", programming_sigma=0.0, read_noise=0.3)
    hardware = Hardware(store=Crossbar(cell=cell), sampling=sampling, **TILES)
    y = np.asarray(read(hardware, np.full(4000, 5)))
    for output in range(5):
        mean, std = censored(1.0, 0.3)
        weight = float(TABLE[5, output])
        assert_moments(y[:, output], mean * weight, std * abs(weight))


def test_a_bit_serial_row_is_read_once_a_step():
    """Four magnitude bits, one at a time, factors 1/15, 2/15, 4/15, 8/15: independent reads add to sqrt(85)/15."""
    dac = BitSerialDAC(bits=5, slice_bits=1)
    n = 6000
    for accumulation in ("digital", "analog"):
        hardware = Hardware(store=Trembling(tremble=0.1), dac=dac.replace(accumulation=accumulation), **TILES)
        y = np.asarray(read(hardware, np.full(n, 3)), np.float64)
        std = 0.1 * math.sqrt(85) / 15 * scales()[0]
        assert np.all(np.abs(y.mean(0) - TABLE[3]) < 4 * std / math.sqrt(n))
        assert np.all(np.abs(y.std(0) / std - 1) < 4 / math.sqrt(2 * n))


# --- age -------------------------------------------------------------------------------------------------------------


def test_a_row_drifts_and_is_compensated():
    """Exponent 0.05 everywhere: a year later ((t + 20)/20)^-0.05 of the row is left."""
    year = 365.25 * 86400
    cell = PCM(programming_noise=0.0, read_noise=0.0, drift_mean_range=(0.05, 0.05), drift_std_range=(0.0, 0.0))

    @jax.jit
    def rows(table, ids, key):
        hardware = Hardware(store=Crossbar(cell=cell), **TILES)
        written = held(hardware, table, key)
        readings = {name: written.read(year, name, False) for name in ("none", "global", "column")}
        read = functools.partial(lookup, hardware, numbers=ids, operator=Lookup(10), key=None, dtype=table.dtype)
        return {name: read(reading) for name, reading in readings.items()}

    for compensation, found in rows(TABLE, IDS, KEY).items():
        left = ((year + 20) / 20) ** -0.05 if compensation == "none" else 1.0
        np.testing.assert_allclose(found, left * TABLE[IDS], rtol=1e-4, atol=1e-6, err_msg=compensation)


# --- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hardware", [preset("pcm", **TILES), Hardware(store=Trembling(hiss=0.1), **TILES)], ids=["rows", "whole tiles"]
)
def test_gradients_count_the_rows(hardware):
    """d/dtable of sum_k c_k table[n_k] adds c_k to row n_k; a number beyond the table adds to none."""
    ids = np.array([2, 2, -8, 9, 0, 10, -11])
    c = np.arange(1, 36, dtype=np.float32).reshape(7, 5)

    def loss(table):
        reading = held(hardware, table).read(3600.0).trained_by(table, hardware.store)
        y = lookup(hardware, reading, ids, Lookup(10), key=KEY, dtype=table.dtype, ranges=Ranges(1.0, 10.0))
        return jnp.nansum(y * c)

    expected = np.zeros((10, 5))
    for row, add in zip((2, 2, 2, 9, 0), c, strict=False):
        expected[row] += add
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(TABLE), expected, rtol=1e-4)


# --- keys, types, refusals -------------------------------------------------------------------------------------------

#: Random reads and conversions, so many bits that rounding is not blown up to a code.
FINE = Hardware(store=Trembling(tremble=0.1), adc=ADC(bits=24, range=5.0, noise=0.1), **TILES)


def test_one_key_one_result_under_jit_and_vmap():
    keys = jax.random.split(KEY, 3)
    one = np.stack([read(FINE, IDS, key=k) for k in keys])
    mapped = jax.jit(jax.vmap(lambda k: read(FINE, IDS, key=k)))(keys)
    np.testing.assert_allclose(mapped, one, rtol=1e-5, atol=1e-5)
    assert np.abs(one[0] - one[1]).max() > 0.01
    assert np.abs(one[0, 0, 2] - one[0, 1, 0]).max() > 0.01  # row 4, twice


def test_what_a_look_up_refuses():
    with pytest.raises(InputError, match="key = None: hardware 'custom' has read or converter noise and needs"):
        read(FINE, IDS, key=None)
    random_when_written = Hardware(store=Crossbar(cell=ReRAM()), **TILES)  # and not when read
    jax.eval_shape(lambda: read(random_when_written, IDS, key=None, time_s=3600.0))
    managed = Hardware(adc=ADC(), bound_management="iterative", **TILES)
    message = "bound_management = 'iterative': widens input ranges, of which a lookup has none; put the table on"
    with pytest.raises(InputError, match=message):
        read(managed, IDS)
    two = Hardware(store=Crossbar(cell=EXACT, mapping=Differential(subtraction="digital")), adc=ADC(), **TILES)
    with pytest.raises(InputError, match=r"one for each of the tiles' 6 readout lines"):
        read(two, IDS, ranges=Ranges(1.0, np.ones(3, np.float32)))


def test_the_row_has_the_dtype_of_the_table():
    """Half precision is the float32 result of the same numbers, rounded once."""
    narrow = TABLE.astype(jnp.bfloat16)
    found = read(FINE, IDS, narrow)
    assert found.dtype == jnp.bfloat16
    exact = read(FINE, IDS, narrow.astype(np.float32))
    # Two programs, which may differ in the last digits of float32 and so round to either neighbour at a tie.
    half_a_digit = float(jnp.finfo(jnp.bfloat16).eps) / 2
    np.testing.assert_allclose(np.float32(found), np.float32(exact), rtol=half_a_digit + 1e-5, atol=1e-6)
    with jax.enable_x64(True):
        wide = np.random.default_rng(1).normal(size=(10, 5))
        found = read(Hardware(**TILES), IDS, wide)
        assert found.dtype == jnp.float64
        np.testing.assert_allclose(found, wide[IDS], rtol=0, atol=1e-15)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_an_embedding_keeps_its_dtypes(dtype):
    layer = nn.Embed(10, 5, dtype=dtype, param_dtype=jnp.bfloat16)
    variables = {"params": {"embedding": TABLE.astype(jnp.bfloat16)}}
    analog, digital = (jax.jit(one.apply)(variables, IDS) for one in (convert(layer, Hardware(**TILES)), layer))
    assert analog.dtype == digital.dtype == dtype
    np.testing.assert_allclose(*(np.float32(y) for y in (analog, digital)), rtol=2**-7)
