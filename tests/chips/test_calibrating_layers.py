"""Converter ranges of groups, blocks of channels, tables and transposed convolutions, by quantiles in NumPy.

Also where values are known only when they are computed (nn.remat, nn.vmap). Tiles have 20 rows and 6 columns.
"""

import functools

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import nnx

from analogsim import ADC, DAC, Hardware, calibrate, convert, range_report
from analogsim.devices import BitSlices, Crossbar, Differential, GenericCell, Offset
from analogsim.nnx import analog_ops

TILES = dict(rows=20, columns=6)
HARDWARE = Hardware(adc=ADC(bits=8), dac=DAC(bits=6), **TILES)
Q = 0.9


def quantile(values):
    return np.quantile(np.abs(values), Q)


def codes(x, bound, bits=6):
    """What a DAC makes of inputs."""
    levels = 2 ** (bits - 1) - 1
    return np.round(np.clip(np.asarray(x, np.float64) / bound, -1, 1) * levels) / levels


def ranges_of(layer, variables, x, hardware=HARDWARE, **how):
    """The one pair of ranges of a model that is one layer."""
    how = {"quantile": Q} | how
    (found,) = (
        tree
        for name, tree in calibrate(convert(layer, hardware), variables, x, **how)["ranges"].items()
        if name == "analog"
    )
    assert set(found) == {"input", "output"}
    assert found["input"].shape == ()
    return float(found["input"]), np.asarray(found["output"])


def windows(x, size):
    """``[n, positions, size, channels]`` of ``[n, length, channels]``."""
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(x, size, axis=1), -1, 2)


# --- groups ----------------------------------------------------------------------------------------------------------

#: Five groups of 3 x 3 inputs and 2 outputs: matrices of two, two and one group.
GROUPED = nn.Conv(10, (3,), feature_group_count=5, use_bias=False, padding="VALID")
RNG = np.random.default_rng(50)
X = np.float32(RNG.normal(size=(50, 7, 15)) * np.linspace(0.2, 1, 15))
VARIABLES = {"params": {"kernel": np.float32(RNG.normal(size=(3, 3, 10)) / 3)}}


def of_groups(held, constant=0.0):
    """Patches ``[vectors, rows]`` and normalised matrix for the groups of each member, and what every cell adds."""
    kernel = np.asarray(VARIABLES["params"]["kernel"], np.float64)  # [3, 3, 10]
    first = 0
    for groups in held:
        channels = slice(3 * first, 3 * (first + groups))
        patches = windows(X, 3)[..., channels].reshape(-1, 9 * groups)
        matrix = np.zeros((3, groups, 3, groups, 2))
        for g in range(groups):
            matrix[:, g, :, g] = kernel[..., 2 * (first + g) : 2 * (first + g) + 2]
        matrix = matrix.reshape(9 * groups, 2 * groups)
        yield patches, matrix / np.abs(matrix).max(0) + constant
        first += groups


@pytest.mark.parametrize(("groups", "held"), [("shared", (2, 2, 1)), ("apart", (1,) * 5)])
def test_all_groups_of_a_layer_share_one_pair_of_ranges(groups, held):
    """Every group's inputs and lines count; places of the third matrix that no group takes do not."""
    hardware = HARDWARE.replace(groups=groups)
    found, output = ranges_of(GROUPED, VARIABLES, X, hardware)
    assert found == pytest.approx(quantile(X), rel=1e-5)
    lines = np.concatenate([(codes(patches, found) @ matrix).ravel() for patches, matrix in of_groups(held)])
    assert output == pytest.approx(1.1 * quantile(lines), rel=1e-4)
    variables = {**VARIABLES, "ranges": {"analog": {"input": 0.5, "output": 0.7}}}
    (row,) = range_report(convert(GROUPED, hardware), variables, X)
    assert row.inputs_clipped == pytest.approx(np.mean(np.abs(X) > 0.5), rel=1e-6)
    lines = np.concatenate([(codes(patches, 0.5) @ matrix).ravel() for patches, matrix in of_groups(held)])
    assert row.outputs_clipped[0] == pytest.approx(np.mean(np.abs(lines) > 0.7), rel=1e-3)
    error = np.round(np.clip(lines, -0.7, 0.7) / 0.7 * 127) / 127 * 0.7 - lines
    sndr = 10 * np.log10(np.sum(lines**2) / np.sum(error**2))
    assert row.enob[0] == pytest.approx((sndr - 10 * np.log10(1.5)) / (20 * np.log10(2)), abs=0.01)


@pytest.mark.parametrize(("groups", "held"), [("shared", (2, 2, 1)), ("apart", (1,) * 5)])
def test_cells_between_groups_carry_their_constant_part(groups, held):
    """Offset cells conduct 0.05 + (1 + w)/2 windows; on shared tiles also the zeros beside a group."""
    cell = GenericCell(g_min="1 uS", g_max="21 uS")
    hardware = HARDWARE.replace(store=Crossbar(cell=cell, mapping=Offset()), groups=groups)
    found, output = ranges_of(GROUPED, VARIABLES, X, hardware, method="max", margin=1)
    assert found == pytest.approx(np.abs(X).max())
    most = max(np.abs(codes(p, found) @ (0.05 + (1 + m) / 2)).max() for p, m in of_groups(held))
    assert output == pytest.approx(most, rel=1e-4)


def test_slices_of_groups_have_ranges_of_their_own():
    """Lines of two slices of a full tile: 2 x 4; those of the last matrix, 2 x 2, are the first of each slice."""
    store = Crossbar(cell=GenericCell(), mapping=Differential(slices=BitSlices(widths=(2, 2))))
    hardware = HARDWARE.replace(store=store)
    found, output = ranges_of(GROUPED, VARIABLES, X, hardware, method="max", margin=1)
    most = np.zeros(2)
    for patches, matrix in of_groups((2, 2, 1)):
        whole = np.round(np.abs(matrix) * 15)
        digits = np.sign(matrix) * np.stack([whole % 4, whole // 4]) / 3
        most = np.maximum(most, np.abs(codes(patches, found) @ digits).max((1, 2)))
    # The ranges may differ by powers of two in what they count, 1 and 4: the smaller one is widened.
    counted = most * [1, 4]
    counted = counted.max() / 2 ** np.floor(np.log2(counted.max() / counted))
    np.testing.assert_allclose(output, np.repeat(counted / [1, 4], 4), rtol=1e-4)
    variables = {**VARIABLES, "ranges": {"analog": {"input": found, "output": output}}}
    (row,) = range_report(convert(GROUPED, hardware), variables, X)
    np.testing.assert_allclose(row.output_range, counted / [1, 4], rtol=1e-4)
    assert row.outputs_clipped == (0.0, 0.0)


def test_ranges_of_groups_in_nnx():
    layer = nnx.Conv(15, 10, (3,), feature_group_count=5, use_bias=False, padding="VALID", rngs=nnx.Rngs(0))
    layer.kernel[...] = VARIABLES["params"]["kernel"]
    model = convert(layer, HARDWARE)
    calibrate(model, None, X, quantile=Q)
    (op,) = (op for _, op in analog_ops(model).values())
    found = float(op.input_range.get_value()), np.asarray(op.output_range.get_value())
    np.testing.assert_allclose(found, ranges_of(GROUPED, VARIABLES, X), rtol=1e-5)


def test_a_table_in_nnx_need_not_be_attended_to():
    """A table of 45 rows on tiles of 15: the largest of each column of a tile is 1."""
    model = convert(nnx.Embed(45, 10, rngs=nnx.Rngs(0)), HARDWARE)
    ids = np.arange(45)[:, None]
    calibrate(model, None, ids, method="max", margin=1)
    ops = {path: op for path, (_, op) in analog_ops(model).items()}
    assert float(ops["(the model itself)"].output_range.get_value()) == pytest.approx(1.0)
    assert ops["attend"].output_range is None
    assert len(range_report(model, None, ids)) == 1


# --- blocks of channels ----------------------------------------------------------------------------------------------


def test_every_block_of_channels_is_a_tile_of_its_own():
    """Windows of 6 on 5 channels: tiles of 3 and of 2 channels, each with its own scale a column."""
    layer, x = nn.Conv(4, (6,), use_bias=False, padding="VALID"), X[..., :5]
    kernel = RNG.normal(size=(6, 5, 4)).astype(np.float32)
    variables = {"params": {"kernel": kernel}}
    found, output = ranges_of(layer, variables, x)
    assert found == pytest.approx(quantile(x), rel=1e-5)
    lines = []
    for channels in (slice(0, 3), slice(3, 5)):
        part = kernel[:, channels].reshape(-1, 4)
        patches = windows(x, 6)[..., channels].reshape(-1, len(part))
        lines.append(codes(patches, found) @ (part / np.abs(part).max(0)))
    assert output == pytest.approx(1.1 * quantile(lines), rel=1e-4)


# --- tables and transposed convolutions ------------------------------------------------------------------------------


class Mixed(nn.Module):
    """A table, a transposed convolution of its rows, and products of the result with the table."""

    remat: bool = False

    @nn.compact
    def __call__(self, ids):
        table = nn.Embed(45, 10, name="table")
        wrap = nn.remat if self.remat else lambda kind: kind
        return table.attend(wrap(nn.ConvTranspose)(10, (2,), strides=(2,), use_bias=False, name="up")(table(ids)))


IDS = RNG.integers(-45, 45, (40, 6))


@functools.cache
def mixed():
    return jax.tree.map(np.asarray, jax.jit(Mixed().init)(jax.random.key(54), IDS))


@functools.cache
def mixed_ranges(remat):
    """Ranges of the three layers, (input, output) by path."""
    ranges = calibrate(convert(Mixed(remat), HARDWARE), mixed(), IDS, quantile=Q)["ranges"]
    assert set(ranges) == {"sample", "table", "up"}
    pairs = {"table": ranges["table"], "attend": ranges["table"]["attend"], "up": ranges["up"]}
    return {name: (float(p["analog"]["input"]), float(p["analog"]["output"])) for name, p in pairs.items()}


def rows_looked_up():
    """Normalised rows: the largest weight of each column in its own tile of 15 rows is 1."""
    table = np.asarray(mixed()["params"]["table"]["embedding"], np.float64)
    scales = np.repeat(np.abs(table.reshape(3, 15, 10)).max(1), 15, axis=0)
    return (table / scales)[IDS % 45]


def test_a_table_is_measured_on_the_rows_that_are_looked_up():
    found, output = mixed_ranges(False)["table"]
    assert found == 1.0  # a word line is driven or not
    assert output == pytest.approx(1.1 * quantile(rows_looked_up()), rel=1e-5)


def test_a_table_that_is_attended_to_has_ranges_for_both():
    """The transposed table on one tile along the inputs, ten of them: its own scale a row of the table."""
    params = mixed()["params"]
    table = np.asarray(params["table"]["embedding"], np.float64)
    up = nn.ConvTranspose(10, (2,), strides=(2,), use_bias=False)
    query = np.asarray(jax.jit(up.apply)({"params": params["up"]}, table[IDS % 45].astype(np.float32)))
    found, output = mixed_ranges(False)["attend"]
    assert found == pytest.approx(quantile(query), rel=1e-5)
    lines = codes(query, found) @ (table / np.abs(table).max(1, keepdims=True)).T
    assert output == pytest.approx(1.1 * quantile(lines), rel=1e-3)


def test_zeros_between_inputs_do_not_count_as_inputs():
    """A window of two with a stride of two: every line is one input times one element, plus zeros."""
    params = mixed()["params"]
    x = np.asarray(params["table"]["embedding"])[IDS % 45]
    kernel = np.asarray(params["up"]["kernel"], np.float64)  # [2, 10, 10]
    found, output = mixed_ranges(False)["up"]
    assert found == pytest.approx(quantile(x), rel=1e-5)
    lines = codes(x, found) @ (kernel / np.abs(kernel).max((0, 1)))[:, None]
    assert output == pytest.approx(1.1 * quantile(lines), rel=1e-4)


def test_layers_inside_remat_are_measured_like_any_other():
    assert mixed_ranges(True) == mixed_ranges(False)
    table = {"analog": {"input": 1.0, "output": 0.5}, "attend": {"analog": {"input": 1.0, "output": 2.0}}}
    ranged = {**mixed(), "ranges": {"table": table, "up": {"analog": {"input": 0.2, "output": 1.0}}}}
    rows = {row.layer: row for row in range_report(convert(Mixed(True), HARDWARE), ranged, IDS)}
    assert list(rows) == ["table", "up", "table/attend"]
    table, up = rows["table"], rows["up"]
    assert (table.input_range, table.inputs_clipped) == (1.0, 0.0)
    assert table.outputs_clipped[0] == pytest.approx(np.mean(np.abs(rows_looked_up()) > 0.5), rel=1e-6)
    x = np.asarray(mixed()["params"]["table"]["embedding"])[IDS % 45]
    assert up.inputs_clipped == pytest.approx(np.mean(np.abs(x) > 0.2), rel=1e-6)


def test_a_table_without_ranges_is_reported_with_those_that_hold():
    rows = {row.layer: row for row in range_report(convert(Mixed(), HARDWARE), mixed(), IDS)}
    assert rows["table"].output_range == (1.0,)  # one fully driven cell, not the ten of a product
    assert rows["table"].outputs_clipped == (0.0,)
    error = np.round(rows_looked_up() * 127) / 127 - rows_looked_up()
    sndr = 10 * np.log10(np.sum(rows_looked_up() ** 2) / np.sum(error**2))
    assert rows["table"].enob[0] == pytest.approx((sndr - 10 * np.log10(1.5)) / (20 * np.log10(2)), abs=0.01)
    kernel = np.asarray(mixed()["params"]["up"]["kernel"], np.float64).reshape(20, 10)
    lines = kernel / np.abs(kernel).max(0)  # for which evenly spread inputs ask for so much
    likely = np.maximum(2 * np.linalg.norm(lines, axis=0), np.abs(lines.sum(0)) / 2 + np.linalg.norm(lines, axis=0))
    expected = np.minimum(np.abs(lines).sum(0), likely).max()
    assert rows["up"].output_range == pytest.approx((expected,), rel=1e-5)


# --- nn.vmap ---------------------------------------------------------------------------------------------------------


class SideBySide(nn.Module):
    """Two grouped convolutions of the same input, each followed by a layer of its own."""

    @nn.compact
    def __call__(self, x):
        lifted = dict(variable_axes={"params": 0, "ranges": 0}, split_rngs={"params": True})
        x = nn.vmap(nn.Conv, in_axes=None, axis_size=2, **lifted)(
            10, (3,), feature_group_count=5, use_bias=False, padding="VALID", name="conv"
        )(x)
        return nn.vmap(nn.Dense, **lifted)(3, use_bias=False, name="dense")(x)


def test_layers_inside_vmap_each_have_their_own_ranges():
    variables = jax.tree.map(np.asarray, jax.jit(SideBySide().init)(jax.random.key(55), X))
    ranges = calibrate(convert(SideBySide(), HARDWARE), variables, X, quantile=Q)["ranges"]
    kernels = variables["params"]["conv"]["kernel"], variables["params"]["dense"]["kernel"]
    for i, (first, second) in enumerate(zip(*kernels, strict=True)):
        alone = ranges_of(GROUPED, {"params": {"kernel": first}}, X)
        np.testing.assert_allclose(
            [ranges["conv"]["analog"][name][i] for name in ("input", "output")], alone, rtol=1e-5
        )
        hidden = np.asarray(jax.jit(GROUPED.apply)({"params": {"kernel": first}}, X))
        found, output = (float(ranges["dense"]["analog"][name][i]) for name in ("input", "output"))
        assert found == pytest.approx(quantile(hidden), rel=1e-5)
        matrix = np.asarray(second, np.float64)
        lines = codes(hidden, found) @ (matrix / np.abs(matrix).max(0))
        assert output == pytest.approx(1.1 * quantile(lines), rel=1e-3)
    report = range_report(convert(SideBySide(), HARDWARE), {**variables, "ranges": ranges}, X)
    assert [row.layer for row in report] == ["conv[0]", "conv[1]", "dense[0]", "dense[1]"]
    # Up to codes that fall on the range itself, the share beyond the quantile is 10 %.
    assert [row.inputs_clipped for row in report] == pytest.approx([1 - Q] * 4, abs=1e-3)
