"""How inputs meet matrices: stacks, einsum equations, blocks of channels; and what imperfect hardware does with them.

Second implementations are NumPy's and SciPy's; moments are worked by hand.
"""

import functools
import itertools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from jax import lax

from analogsim import ADC, DAC, Hardware, InputError, convert, preset
from analogsim.devices import Crossbar, Differential, GenericCell
from analogsim.signal_path import Ranges, multiply, program
from analogsim.signal_path.operators import convolution, einsum, partial_sums
from analogsim.signal_path.operators.product import letters
from analogsim.signal_path.operators.stack import block_diagonal, bundle, members
from analogsim.signal_path.tiling import normalise
from tests.support.signal_path import Trembling

KEY = jax.random.key(60)
RNG = np.random.default_rng(60)


def random(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def hardware(rows=20, columns=6, **more):
    return Hardware(rows=rows, columns=columns, **more)


@functools.partial(jax.jit, static_argnames="layer")
def on(layer, target, kernel, x, key=KEY):
    """A layer's kernel on hardware, a fresh chip."""
    return convert(layer, target).apply({"params": {"kernel": kernel}}, x, rngs={"analog": key})


# --- stacks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "n_in", "n_out", "held"),
    [
        (128, 9, 1, (43, 43, 42)),  # 56 of 9 rows fit a tile of 512: three tiles, evenly
        (5, 200, 100, (2, 2, 1)),  # two by rows
        (5, 100, 200, (2, 2, 1)),  # two by columns
        (8, 512, 1, (1,) * 8),
        (3, 600, 600, (1, 1, 1)),  # one matrix takes several tiles
        (4, 2, 2, (4,)),
        (1, 3, 3, (1,)),
    ],
)
def test_as_many_groups_as_fit_share_a_tile(groups, n_in, n_out, held):
    assert members(groups, n_in, n_out, Hardware()) == held
    assert members(groups, n_in, n_out, Hardware(groups="apart")) == (1,) * groups


def test_members_are_as_few_and_as_even_as_can_be():
    for groups, n_in, rows in itertools.product((1, 2, 7, 12, 13), (1, 3, 5), (4, 9, 16)):
        held = members(groups, n_in, 1, hardware(rows, 64))
        fit = max(rows // n_in, 1)
        assert sum(held) == groups
        assert len(held) == -(-groups // fit)
        assert len(set(held[:-1])) <= 1
        assert 1 <= held[-1] <= held[0] <= fit


def test_a_bundle_is_cut_and_filled_with_zeros():
    groups = random(2, 5, 3)
    found = np.asarray(jax.jit(lambda matrices: bundle(matrices, (2, 2, 1), 1))(groups))
    assert found.shape == (2, 3, 2, 3)
    np.testing.assert_array_equal(found.reshape(2, 6, 3)[:, :5], groups)
    np.testing.assert_array_equal(found[:, 2, 1], 0)


@pytest.mark.parametrize("window", [(), (3,), (2, 3)])
def test_blocks_lie_on_the_diagonal(window):
    blocks = random(2, 4, *window, 3, 2)
    found = np.asarray(jax.jit(block_diagonal)(blocks))
    assert found.shape == (2, *window, 12, 8)
    for s in range(2):
        for place in np.ndindex(*window):
            expected = scipy.linalg.block_diag(*(blocks[(s, p, *place)] for p in range(4)))
            np.testing.assert_array_equal(found[(s, *place)], expected)


# --- einsum ----------------------------------------------------------------------------------------------------------

#: equation: shapes of input and kernel.
EINSUMS = {
    "bd,dk->bk": ((2, 3), (3, 4)),
    "bd,dk->kb": ((2, 3), (3, 4)),
    "bd,d->b": ((2, 3), (3,)),
    "b,k->bk": ((2,), (4,)),
    " ...d, d h k -> ...h k ": ((2, 5, 3), (3, 4, 2)),
    "...d,dk->k...": ((2, 5, 3), (3, 4)),
    "b...d,de->eb...": ((2, 5, 6, 3), (3, 4)),
    "A...b,bC->CA...": ((2, 5, 3), (3, 4)),
    "bsd,dk->bk": ((2, 5, 3), (3, 4)),
    "dsb,dk->kb": ((3, 5, 2), (3, 4)),
    "ab,...bc->...ac": ((2, 3), (5, 6, 3, 4)),
    "btdq,qhd->bhqt": ((2, 5, 3, 4), (4, 6, 3)),
    "...gd,gdk->...gk": ((2, 5, 3), (5, 3, 4)),
    "bgd,dkg->kbg": ((2, 5, 3), (3, 4, 5)),
    "bgd,gkd->gbk": ((2, 5, 3), (5, 4, 3)),
    "ghb,ghk->bkhg": ((3, 2, 4), (3, 2, 5)),
    "...d,...dk->...k": ((5, 3), (5, 3, 4)),
    "...d,...dk->k...": ((2, 1, 3), (5, 3, 4)),
    "bsgd,gdk->gk": ((2, 6, 5, 3), (5, 3, 4)),
}


def einsum_as_matrices(equation, groups, x, kernel):
    """Inputs times matrix, put in the output's order; and what the layer computes digitally."""
    operator, driven = einsum(equation, x, kernel.shape, hardware(groups=groups), "layer")
    inputs, matrix = operator.inputs(driven), operator.matrix(kernel)
    product = functools.partial(jnp.matmul, precision="highest")
    if matrix.ndim == 3:  # one matrix after the other
        y = jnp.stack([product(one, m) for one, m in zip(inputs, matrix, strict=True)])
    else:
        y = product(inputs, matrix)
    return operator.outputs(y), operator.digital(driven, kernel, "highest")


def test_equations_are_matrix_products():
    """Both are numpy's einsum, whether groups share tiles or not. All equations are one program."""
    operands = {equation: [random(*shape) for shape in shapes] for equation, shapes in EINSUMS.items()}
    cases = [(equation, groups) for equation in EINSUMS for groups in ("shared", "apart")]
    products = jax.jit(lambda operands: [einsum_as_matrices(*case, *operands[case[0]]) for case in cases])
    for (equation, groups), (by_matrix, digital) in zip(cases, products(operands), strict=True):
        x, kernel = operands[equation]
        exact = np.einsum(equation, x.astype(np.float64), kernel.astype(np.float64))
        np.testing.assert_allclose(by_matrix, exact, atol=2e-5, err_msg=f"{equation}, groups {groups}")
        np.testing.assert_allclose(digital, exact, atol=2e-5, err_msg=f"{equation}, groups {groups}, digital")


def test_letters_of_an_ellipsis_are_counted_from_the_right():
    of_x, of_kernel, of_y = letters("a...B,...BC->...aC", 4, 3)
    assert len({*of_x, *of_kernel}) == 5  # a, B, C and two for the ellipsis, none of them in the equation
    assert (of_x[0], of_x[3], of_kernel[1:], of_y[2:]) == ("a", "B", "BC", "aC")
    assert of_kernel[0] == of_x[2]
    assert of_y[:2] == of_x[1:3]


@pytest.mark.parametrize(
    ("equation", "shapes", "message"),
    [
        ("bdd,dk->bk", ((2, 3, 3), (3, 4)), "einsum 'bdd,dk->bk': a letter twice in one operand is no matrix product"),
        ("bd,dkk->bk", ((2, 3), (3, 4, 4)), "a letter twice in one operand"),
        ("...d,...dk->...k", ((5, 3), (1, 3, 4)), "the ellipsis has 5 entries in the input and 1 in the kernel"),
        ("bd,dkm->bk", ((2, 3), (3, 4, 5)), "the kernel alone has 'm' and sums over it; sum it beforehand"),
    ],
)
def test_equations_that_are_no_matrix_product_are_refused(equation, shapes, message):
    with pytest.raises(InputError, match=f"layer mixer: .*{message}"):
        einsum(equation, np.ones(shapes[0], np.float32), shapes[1], hardware(), "mixer")


# --- blocks of channels ----------------------------------------------------------------------------------------------


def convolved(x, kernel, strides, pads, spread, dilation):
    """A convolution in NumPy, float64, channels last: the sum over the elements of the window."""
    n = len(strides)
    sizes = [(size - 1) * d + 1 for size, d in zip(x.shape[1:-1], spread, strict=True)]
    wide = np.zeros((len(x), *sizes, x.shape[-1]))
    wide[(slice(None), *(slice(None, None, d) for d in spread))] = x
    wide = np.pad(wide, [(0, 0), *pads, (0, 0)])
    outs = [
        (wide.shape[1 + i] - (kernel.shape[i] - 1) * dilation[i] - 1) // strides[i] + 1 for i in range(n)
    ]  # fmt: skip
    y = np.zeros((len(x), *outs, kernel.shape[-1]))
    for element in np.ndindex(*kernel.shape[:n]):
        first = [e * d for e, d in zip(element, dilation, strict=True)]
        cut = tuple(slice(f, f + (o - 1) * s + 1, s) for f, o, s in zip(first, outs, strides, strict=True))
        y += wide[(slice(None), *cut)] @ kernel[element].astype(np.float64)
    return y


#: input, window, output channels, strides, padding, input dilation, kernel dilation, rows of a tile, tiles.
BLOCKS = {
    "1-D": ((2, 11, 5), (3,), 4, (2,), ((1, 2),), (1,), (2,), 7, 3),
    "2-D": ((2, 7, 6, 7), (3, 2), 5, (2, 1), ((0, 0), (1, 1)), (1, 1), (1, 2), 13, 4),
    "2-D spread": ((1, 4, 3, 5), (2, 3), 3, (1, 1), ((1, 2), (2, 2)), (2, 3), (1, 1), 12, 3),
    "3-D": ((1, 4, 5, 3, 4), (2, 1, 2), 3, (1, 2, 1), ((1, 0), (0, 0), (0, 1)), (1, 1, 1), (1, 1, 1), 8, 2),
    "window of one": ((2, 5, 6, 9), (1, 1), 4, (2, 1), ((1, 0), (0, 2)), (1, 2), (1, 1), 4, 3),
    "one tile": ((2, 6, 3), (2,), 4, (1,), ((0, 0),), (1,), (1,), 20, 1),
    "window beyond a tile": ((2, 6, 6, 2), (3, 3), 4, (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 7, 3),
}


def case(name):
    """The operator, input, kernel, geometry and hardware of one of ``BLOCKS``."""
    shape, window, n_out, strides, pads, spread, dilation, rows, tiles = BLOCKS[name]
    kernel_shape, dims = (*window, shape[-1], n_out), "DHW"[-len(window) :]
    numbers = lax.conv_dimension_numbers(shape, kernel_shape, (f"N{dims}C", f"{dims}IO", f"N{dims}C"))
    target = hardware(rows, n_out)
    operator = convolution(kernel_shape, strides, pads, spread, dilation, numbers, 1, target)
    rng = np.random.default_rng(len(name))
    x, kernel = (rng.normal(size=s).astype(np.float32) for s in (shape, kernel_shape))
    return operator, x, kernel, (strides, pads, spread, dilation), target, tiles


@functools.partial(jax.jit, static_argnames=("operator", "tiles"))
def sums_of_tiles(operator, target, tiles, x, kernel):
    """Every tile's sums by three ways: driven by the image, by patches, and all together."""
    held, scale = normalise(operator.matrix(kernel), target, operator.tile_rows)
    assert held.shape[:2] == (tiles, 1)
    assert held.shape[2] <= target.rows

    def one_by_one(unfold):
        parts = operator.parts(operator.inputs(x), tiles, unfold)
        return [operator.product(part, w * s, "highest") for part, w, s in zip(parts, held, scale, strict=True)]

    together = partial_sums(operator, x, held * scale, "highest")
    return {"image": one_by_one(False), "patches": one_by_one(True), "together": list(together)}


@pytest.mark.parametrize("name", BLOCKS)
def test_the_sums_of_all_tiles_are_the_convolution(name):
    operator, x, kernel, geometry, target, tiles = case(name)
    exact = convolved(x, kernel, *geometry)
    every = sums_of_tiles(operator, target, tiles, x, kernel)
    for way, sums in every.items():
        assert len(sums) == tiles
        np.testing.assert_allclose(np.sum(sums, 0)[..., 0, :], exact, atol=3e-5, err_msg=way)
        for one, other in zip(sums, every["together"], strict=True):
            np.testing.assert_allclose(one, other, atol=2e-5, err_msg=way)
    assert operator.vectors(x) == exact[..., 0].size


@pytest.mark.parametrize("name", ["1-D", "2-D", "3-D"])
def test_each_tile_convolves_its_own_channels(name):
    operator, x, kernel, geometry, target, tiles = case(name)
    for i, y in enumerate(sums_of_tiles(operator, target, tiles, x, kernel)["together"]):
        own, y = slice(i * operator.block, (i + 1) * operator.block), np.asarray(y)
        np.testing.assert_allclose(y[..., 0, :], convolved(x[..., own], kernel[..., own, :], *geometry), atol=3e-5)
    assert operator.block * math.prod(operator.window) <= target.rows
    assert sum(map(len, operator.rows_in_use())) == math.prod(kernel.shape[:-1])


def sizes_in(jaxpr):
    """Numbers in every intermediate array, those inside of calls, loops and branches included."""
    for eqn in jaxpr.eqns:
        yield from (math.prod(v.aval.shape) for v in eqn.outvars if hasattr(v.aval, "shape"))
        for param in jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            inner = getattr(param, "jaxpr", param)
            if hasattr(inner, "eqns"):
                yield from sizes_in(inner)


@pytest.mark.parametrize(
    ("rows", "store", "sampling", "unfolds"),
    [
        (20, Trembling(tremble=0.1), "outputs", False),
        (200, Trembling(tremble=0.1), "outputs", False),
        (8, Trembling(tremble=0.1), "outputs", True),  # a single window of 9
        (20, Trembling(hiss=0.1), "outputs", True),
        (20, Trembling(tremble=0.1), "cells", True),
    ],
    ids=["blocks", "one tile", "window beyond a tile", "detection noise", "cell by cell"],
)
def test_patches_are_only_cut_out_where_they_must_be(rows, store, sampling, unfolds):
    """An image of 2 x 12 x 12 x 8 numbers; patches have nine times as many, shared by four tiles."""
    layer, x = nn.Conv(4, (3, 3), use_bias=False), np.ones((2, 12, 12, 8), np.float32)
    target = hardware(rows, 6, store=store, dac=DAC(bits=8), adc=ADC(bits=8, noise=0.1), sampling=sampling)
    closed = jax.make_jaxpr(lambda k, a: on(layer, target, k, a))(np.ones((3, 3, 8, 4), np.float32), x)
    largest = max(sizes_in(closed.jaxpr))
    image, patches = 2 * 12 * 12 * 8, 2 * 12 * 12 * 72
    if unfolds:
        assert largest >= patches
    else:
        assert image <= largest <= 2 * image  # the stacked partial sums of four tiles are no larger
        assert largest < patches / 4


# --- converters of several tiles -------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames="operator")
def run(operator, target, x, kernel, ranges):
    """A convolution on hardware with ranges."""
    reading = program(target, operator.matrix(kernel), None, None, operator.tile_rows).read(0.0)
    return operator.outputs(multiply(target, reading, operator.inputs(x), operator, key=None, ranges=ranges))


@pytest.mark.parametrize("name", ["1-D", "2-D", "2-D spread", "window of one"])
def test_a_calibrated_dac_quantises_and_clips_the_image(name):
    """Four bits, seven steps to a range of 1.2: rounding an image is rounding all of its patches, on any tiles."""
    operator, x, kernel, geometry, target, _ = case(name)
    codes = np.round(np.clip(x.astype(np.float64) / 1.2, -1, 1) * 7) / 7 * 1.2
    y = run(operator, target.replace(dac=DAC(bits=4)), x, kernel, Ranges(1.2, None))
    np.testing.assert_allclose(y, convolved(codes, kernel, *geometry), atol=3e-5)


@pytest.mark.parametrize("name", ["1-D", "2-D", "window beyond a tile"])
def test_every_tile_converts_its_own_sums(name):
    """By numpy, tile by tile: partial sums in units of input range and column scale, clipped, in steps of r/31."""
    operator, x, kernel, geometry, target, tiles = case(name)
    bound, limit, expected, step = 2.0, 1.5, 0.0, 0.0
    flat = np.zeros((tiles, -(-math.prod(kernel.shape[:-1]) // tiles), kernel.shape[-1]))
    for i in range(tiles):
        if operator.block is None:  # rows in the order of the kernel, cut evenly
            part = np.zeros((math.prod(kernel.shape[:-1]), kernel.shape[-1]))
            own = slice(i * flat.shape[1], (i + 1) * flat.shape[1])
            part[own] = kernel.reshape(part.shape)[own]
            part = part.reshape(kernel.shape)
        else:
            part = np.zeros_like(kernel)
            own = slice(i * operator.block, (i + 1) * operator.block)
            part[..., own, :] = kernel[..., own, :]
        scale = np.abs(part).reshape(-1, kernel.shape[-1]).max(0)
        lines = convolved(x / bound, part / scale, *geometry)
        expected = expected + np.round(np.clip(lines, -limit, limit) / limit * 31) / 31 * limit * scale * bound
        step = max(step, limit / 31 * scale.max() * bound)
    y = np.asarray(run(operator, target.replace(adc=ADC(bits=6)), x, kernel, Ranges(bound, limit)))
    off = np.abs(y - expected)  # a sum within rounding of a tie may fall to either code
    assert np.mean(off > 1e-4) < 0.01
    assert off.max() < 1.01 * step


# --- noise of stacks -------------------------------------------------------------------------------------------------

N = 4000

#: Inputs of the five groups, and the largest weight of each; every patch of a group has the squared length 9 a^2.
AMPLITUDES, LARGEST = np.array([1.0, 2.0, 0.5, -1.0, 3.0]), np.array([1.0, 0.5, 2.0, 1.5, 1.0])


@functools.cache
def trembling(groups, sampling="outputs", n=N):
    """Outputs ``[n, group, 2]`` of a convolution of five groups of 3 x 3 inputs whose weights tremble by 0.05."""
    layer = nn.Conv(10, (3,), feature_group_count=5, use_bias=False, padding="VALID")
    kernel = np.broadcast_to(np.repeat(LARGEST, 2), (3, 3, 10)).astype(np.float32)
    x = np.broadcast_to(np.repeat(AMPLITUDES, 3), (1, n + 2, 15)).astype(np.float32)
    target = hardware(store=Trembling(tremble=0.05), groups=groups, sampling=sampling)
    return np.asarray(on(layer, target, kernel, x), np.float64).reshape(n, 5, 2)


def check_spread(y, rows_of_group):
    """Every output of group g has the mean 9 a w and the spread 0.05 w sqrt(sum of x^2 over the rows of its tile)."""
    n = len(y)
    std = (0.05 * LARGEST * np.sqrt(rows_of_group))[:, None]
    assert np.all(np.abs(y.mean(0) - (9 * AMPLITUDES * LARGEST)[:, None]) < 4 * std / math.sqrt(n))
    assert np.all(np.abs(y.std(0) / std - 1) < 4 / math.sqrt(2 * n))


SQUARES = 9 * AMPLITUDES**2
SHARED = np.array([SQUARES[:2].sum()] * 2 + [SQUARES[2:4].sum()] * 2 + [SQUARES[4]])  # tiles of two, two and one group


@pytest.mark.parametrize(("groups", "rows"), [("shared", SHARED), ("apart", SQUARES)])
def test_the_cells_of_a_shared_tile_all_tremble(groups, rows):
    check_spread(trembling(groups), rows)


def test_groups_drawn_cell_by_cell():
    check_spread(trembling("shared", "cells", 1500), SHARED)


@pytest.mark.parametrize("groups", ["shared", "apart"])
def test_groups_and_positions_have_noise_of_their_own(groups):
    y = trembling(groups).reshape(N, 10)
    assert np.abs(np.corrcoef(y.T) - np.eye(10)).max() < 4.5 / math.sqrt(N)  # 45 pairs
    assert abs(np.corrcoef(y[:-1, 0], y[1:, 0])[0, 1]) < 4 / math.sqrt(N)


def test_batch_axes_tremble_like_groups():
    """Three matrices of 4 x 2 on inputs of 1, 2, 3: two on the diagonal of one tile of 8 rows, one alone."""
    layer = nn.Einsum((3, 4, 2), "bgd,gdk->bgk", use_bias=False)
    x = np.broadcast_to(np.float32([[1], [2], [3]]), (N, 3, 4))
    for groups, squares in (("shared", (4 + 16, 4 + 16, 36)), ("apart", (4, 16, 36))):
        target = hardware(8, 4, store=Trembling(tremble=0.05), groups=groups)
        y = np.asarray(on(layer, target, np.full((3, 4, 2), 1.5, np.float32), x), np.float64)
        std = 0.05 * 1.5 * np.sqrt(squares)[:, None]
        assert np.all(np.abs(y.mean(0) - 6 * np.array([[1.0], [2.0], [3.0]])) < 4 * std / math.sqrt(N))
        assert np.all(np.abs(y.std(0) / std - 1) < 4 / math.sqrt(2 * N))
        assert np.abs(np.corrcoef(y.reshape(N, 6).T) - np.eye(6)).max() < 4.5 / math.sqrt(N)


def test_every_member_is_written_by_itself():
    """A thousand weights of 1 on tiles each. G+ = 30 uS and G- = 10 uS are written with 0.6 uS: sqrt(2) 0.6/20."""
    cell = GenericCell(g_min="10 uS", g_max="30 uS", programming_sigma=0.02)
    target = hardware(store=Crossbar(cell=cell, mapping=Differential(sides=2)), groups="apart")
    n = 1000
    layer = nn.Einsum((n, 1), "bg,gk->bgk", use_bias=False)
    y = np.asarray(on(layer, target, np.ones((n, 1), np.float32), np.ones((2, n), np.float32)))
    np.testing.assert_allclose(y[0], y[1], rtol=1e-5)  # one chip a call, and its reads are noiseless
    error, std = y[0].ravel() - 1, math.sqrt(2) * 0.6 / 20
    assert abs(error.mean()) < 4 * std / math.sqrt(n)
    assert abs(error.std() / std - 1) < 4 / math.sqrt(2 * n)
    assert np.unique(error).size > 0.99 * n
    assert abs(np.corrcoef(error[:-1], error[1:])[0, 1]) < 4 / math.sqrt(n)


# --- keys, gradients, types ------------------------------------------------------------------------------------------

LAYER = nn.Conv(6, (3,), feature_group_count=3, use_bias=False)
FINE = hardware(store=Trembling(tremble=0.1), adc=ADC(bits=24, range=20.0, noise=0.04))  # no rounding to whole codes


def test_one_key_one_result_under_jit_and_vmap():
    x, kernel, keys = random(2, 5, 9), random(3, 3, 6), jax.random.split(KEY, 3)
    one = np.stack([on(LAYER, FINE, kernel, x, k) for k in keys])
    mapped = jax.jit(jax.vmap(lambda k: on(LAYER, FINE, kernel, x, k)))(keys)
    np.testing.assert_allclose(mapped, one, rtol=1e-5, atol=2e-5)
    assert np.abs(one[0] - one[1]).max() > 0.01


def test_groups_need_a_key_where_something_is_drawn():
    variables, x = {"params": {"kernel": random(3, 3, 6)}}, random(2, 5, 9)
    with pytest.raises(InputError, match=r"needs a random key: pass rngs=\{'analog': key\}"):
        jax.eval_shape(convert(LAYER, FINE).apply, variables, x)
    y = jax.eval_shape(convert(LAYER, preset("int8", rows=20, columns=6)).apply, variables, x)
    assert y.shape == (2, 5, 6)


def test_gradients_pass_noise_straight_through():
    x, kernel, c = random(2, 5, 9), random(3, 3, 6), random(2, 5, 6)

    def loss(model, k, a):
        return jnp.sum(model.apply({"params": {"kernel": k}}, a, rngs={"analog": KEY}) * c)

    mine, plain = (
        jax.jit(jax.grad(functools.partial(loss, model), argnums=(0, 1)))(kernel, x)
        for model in (convert(LAYER, FINE), LAYER)
    )
    # Through the inputs the slope is what the cells hold, which is exact but for what trembles at the output.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), mine, plain)


@pytest.mark.parametrize("layer", [LAYER, nn.Einsum((9, 4), "...d,dk->...k", use_bias=False)], ids=["groups", "einsum"])
def test_kernels_of_half_precision_keep_their_type(layer):
    """The half-precision result is the float32 result of the same numbers, rounded once."""
    kernel = (random(3, 3, 6) if layer is LAYER else random(9, 4)).astype(jnp.bfloat16)
    x = random(2, 5, 9).astype(jnp.bfloat16)
    y = on(layer, FINE, kernel, x)
    assert y.dtype == jnp.bfloat16
    wide = on(layer, FINE, kernel.astype(np.float32), x.astype(np.float32))
    assert wide.dtype == jnp.float32
    # Two programs: float32 sums of about 10 may differ by a few 1e-6, and so round to either neighbour at a tie.
    half_a_digit = float(jnp.finfo(jnp.bfloat16).eps) / 2
    np.testing.assert_allclose(np.float32(y), np.float32(wide), rtol=half_a_digit + 1e-5, atol=1e-5)


def test_groups_and_blocks_keep_float64():
    with jax.enable_x64(True):
        x = np.random.default_rng(1).normal(size=(2, 5, 9))
        for layer, kernel in ((LAYER, (3, 3, 6)), (nn.Conv(6, (3,), use_bias=False), (3, 9, 6))):
            layer, kernel = layer.clone(param_dtype=jnp.float64), np.random.default_rng(2).normal(size=kernel)
            y = on(layer, hardware(rows=10), kernel, x)
            assert y.dtype == jnp.float64
            exact = jax.jit(layer.apply)({"params": {"kernel": kernel}}, x)
            np.testing.assert_allclose(y, exact, rtol=0, atol=1e-13)
