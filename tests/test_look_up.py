"""Look-ups on imperfect hardware: one row of one row of tiles is driven fully, whatever the table's size.

With a scale s a column and tile, a row g / s of normalised conductances reads with the mean E[g] and the variance
Var[g] of its own cells, plus one conversion's noise: nothing is added up over tiles.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import Hardware
from analogsim.operators import LookUp
from analogsim.signal_path import Ranges, look_up
from analogsim.tiles import program
from tests.test_signal_path import Trembling

KEY = jax.random.key(30)
TABLE = jax.random.normal(jax.random.key(31), (10, 5))  # 3 x 2 tiles of 4 x 3: rows 0-3, 4-7, 8-9
TILES = dict(rows=4, columns=3)
IDS = jnp.array([[9, 0, 4], [4, -1, -10]])


def held(hardware, table=TABLE, key=KEY):
    return program(hardware, table, key)


def read(hardware, ids, table=TABLE, key=KEY, ranges=Ranges(), time_s=0.0):  # noqa: B008
    """Rows of a freshly written table."""
    reading = held(hardware, table).read(time_s)
    return look_up(reading, ids, LookUp(len(table)), key=key, dtype=table.dtype, ranges=ranges)


def scales(table=TABLE):
    """The largest weight of each column of each tile, ``[R, n_out]``."""
    return np.stack([np.abs(table[i : i + 4]).max(0) for i in range(0, len(table), 4)])


# --- which row -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "rows"), [(jnp.int8, 200), (jnp.uint8, 200), (jnp.uint8, 300), (jnp.int32, 300), (jnp.uint32, 300)]
)
def test_numbers_of_any_type_find_their_row(dtype, rows):
    """Also where the number of rows does not fit the type. Against indexing by NumPy, with NaN beyond the table."""
    table = jnp.arange(rows * 2.0).reshape(rows, 2)
    numbers = [0, 1, 99, 127] + ([-1, -128] if jnp.iinfo(dtype).min else [199, 201, 255]) + (
        [rows, rows - 1] if jnp.iinfo(dtype).max > rows else []
    ) + ([2**32 - 1] if dtype is jnp.uint32 else [])  # fmt: skip
    found = np.asarray(read(Hardware(rows=64), jnp.array(numbers, dtype), table))
    inside = np.array([-rows <= n < rows for n in numbers])
    np.testing.assert_allclose(found[inside], np.asarray(table)[np.array(numbers)[inside]], rtol=1e-6)
    assert np.isnan(found[~inside]).all()


@pytest.mark.parametrize("sampling", ["outputs", "cells"])
def test_the_edges_of_a_table(sampling):
    hardware = Hardware(store=Trembling(tremble=0.0), sampling=sampling, **TILES)
    found = np.asarray(read(hardware, jnp.array([9, 10, -10, -11, 1000, -1])))
    np.testing.assert_allclose(found[[0, 2, 5]], np.asarray(TABLE)[[9, 0, 9]], rtol=1e-6)
    assert np.isnan(found[[1, 3, 4]]).all()
    assert read(hardware, jnp.zeros((2, 0), int)).shape == (2, 0, 5)
    assert read(hardware, jnp.array(3)).shape == (5,)
