"""Trains as mathematics: what decomposition and rounding must achieve, and what products cost."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError, codecs
from analogsim.codecs import (
    CoreLayout,
    LowRank,
    TensorTrain,
    balanced_modes,
    initial,
    macs,
    rounded,
)
from analogsim.factors.trains import interleaved, train_of

#: One program for each shape, not one for each operation.
apply = jax.jit(codecs.apply, static_argnums=2)
balanced, decode, left_orthogonal, propagate_errors = map(
    jax.jit, (codecs.balanced, codecs.decode, codecs.left_orthogonal, codecs.propagate_errors)
)

MODES = (4, 3, 2), (2, 3, 4)


def random_matrix(n_in=24, n_out=24, seed=0):
    return np.random.default_rng(seed).normal(size=(n_in, n_out))


def random_cores(layout, seed=0):
    generator = np.random.default_rng(seed)
    return [jnp.asarray(generator.normal(size=shape), jnp.float32) for shape in layout.shapes]


def rms(core):
    return math.sqrt(np.mean(np.square(core)))


def matrix_of(cores):
    """The definition, entry by entry: a product of matrices for every pair of digits."""
    layout = CoreLayout.of(cores)
    w = np.zeros((layout.n_in, layout.n_out))
    for i, ins in enumerate(np.ndindex(layout.modes_in)):
        for j, outs in enumerate(np.ndindex(layout.modes_out)):
            product = np.ones((1, 1))
            for core, a, b in zip(cores, ins, outs, strict=True):
                product = product @ np.asarray(core, float)[:, a, b, :]
            w[i, j] = product[0, 0]
    return w


def test_decoding_and_products_follow_the_definition():
    cores = random_cores(CoreLayout(*MODES, (3, 2)))
    w, x = matrix_of(cores), random_matrix(5, 24, seed=1)
    np.testing.assert_allclose(decode(cores), w, rtol=1e-5, atol=1e-5)
    for way in ("factored", "dense", "auto"):
        np.testing.assert_allclose(apply(jnp.asarray(x, jnp.float32), cores, way), x @ w, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ranks", [(8, 8), (3, 5), (1, 1)])
def test_the_squared_error_is_what_was_dropped(ranks):
    w, dropped = random_matrix(), []

    def choose(k, s):
        dropped.append(np.sum(s[ranks[k] :] ** 2))
        return min(ranks[k], len(s))

    cores = train_of(w, *MODES, choose)
    error = np.sum((matrix_of(cores) - w) ** 2)
    assert error == pytest.approx(sum(dropped), rel=1e-10, abs=1e-20)
    tensor = interleaved(w, *MODES)
    best = [
        np.sum(np.linalg.svd(tensor.reshape(math.prod(tensor.shape[:k]), -1), compute_uv=False)[ranks[k - 1] :] ** 2)
        for k in (1, 2)
    ]  # no train of these ranks is closer than each cut allows (Eckart, Young)
    assert max(best) <= error * (1 + 1e-10) + 1e-20
    assert error <= sum(best) * (1 + 1e-10) + 1e-20  # hence at most d - 1 times the best


def test_full_ranks_lose_nothing_and_errors_keep_their_promise():
    w = jnp.asarray(random_matrix(), jnp.float32)
    factors, record = TensorTrain(rank=1000, modes_in=MODES[0], modes_out=MODES[1]).compress(w)
    assert record.rel_error < 1e-6
    assert record.ranks == record.layout.full_ranks == (8, 8)
    np.testing.assert_allclose(decode(factors), w, atol=1e-5)
    large = jnp.asarray(random_matrix(64, 64), jnp.float32)
    for target in (0.3, 0.7):
        _, record = TensorTrain(rel_error=target).compress(large)
        assert 0.5 * target < record.rel_error <= target


def test_a_train_built_by_hand_is_found_with_its_ranks():
    layout = CoreLayout((4, 4, 4), (4, 4, 4), (3, 5))
    w = decode(random_cores(layout))
    for codec in (TensorTrain(rel_error=1e-5), TensorTrain(rank=9)):
        _, record = codec.compress(w)
        assert record.layout == layout
        assert record.rel_error < 1e-5
    eye = TensorTrain(rel_error=1e-6).compress(jnp.eye(64))[1]
    assert eye.ranks == (1, 1)  # digit by digit the same


def test_budgets_hold_and_the_next_rank_would_not():
    w = jnp.asarray(random_matrix(64, 64), jnp.float32)
    for codec in (TensorTrain(max_params=700), TensorTrain(max_fraction=700 / 4096), LowRank(max_params=700)):
        factors, record = codec.compress(w)
        assert 550 < record.params <= 700
        assert record.params == sum(core.size for core in factors)
        assert codec.layout(64, 64).params <= 700
    errors = [TensorTrain(max_fraction=share).compress(w)[1].rel_error for share in (0.05, 0.2, 0.5, 1.0)]
    assert errors == sorted(errors, reverse=True)


def test_low_rank_is_the_singular_value_decomposition():
    w = random_matrix(20, 14)
    u, s, v = np.linalg.svd(w, full_matrices=False)
    (a, b), record = LowRank(rank=3).compress(jnp.asarray(w, jnp.float32))
    assert a.shape == (1, 20, 1, 3)
    assert b.shape == (3, 1, 14, 1)
    a, b = np.asarray(a), np.asarray(b)
    np.testing.assert_allclose(a[0, :, 0] @ b[:, 0, :, 0], u[:, :3] * s[:3] @ v[:3], atol=1e-5)
    assert record.rel_error == pytest.approx(np.sqrt(np.sum(s[3:] ** 2) / np.sum(s**2)), rel=1e-5)
    assert record.params == record.macs == 3 * 34
    assert LowRank(rel_error=0.5).compress(jnp.asarray(w))[1].rel_error <= 0.5


def dot_macs(function, *args):
    """Multiply-accumulates of all dot_general in a traced function, which calls no compiled one."""
    total = 0
    for equation in jax.make_jaxpr(function)(*args).eqns:
        if equation.primitive.name == "dot_general":
            (contract, _), _ = equation.params["dimension_numbers"]
            summed = math.prod(equation.invars[0].aval.shape[d] for d in contract)
            total += summed * math.prod(equation.outvars[0].aval.shape)
    return total


@pytest.mark.parametrize(
    "layout", [CoreLayout(*MODES, (3, 2)), CoreLayout((7, 1), (1, 5), (2,)), CoreLayout((6,), (4,), ())]
)
def test_the_formula_counts_what_is_computed(layout):
    cores, x = random_cores(layout), np.ones((3, layout.n_in), np.float32)
    assert dot_macs(lambda x: codecs.apply(x, cores, "factored"), x) == 3 * layout.macs == 3 * macs(cores)
    assert dot_macs(lambda x: codecs.apply(x, cores, "dense"), x) == 3 * layout.dense + layout.decoding_macs


def test_published_costs_of_a_large_matrix():
    """1024 x 1024 with modes (4, 8, 8, 4): cores of rank 8 are 1 in 124 numbers and as much arithmetic."""
    for rank, ratio in ((2, 0.078), (4, 0.281), (8, 1.06), (16, 4.13)):
        layout = CoreLayout((4, 8, 8, 4), (4, 8, 8, 4), (rank,) * 3)
        assert layout.macs / layout.dense == pytest.approx(ratio, rel=5e-3)


def test_auto_takes_the_cheaper_way():
    cheap, dear = CoreLayout((8, 8, 8), (8, 8, 8), (2, 2)), CoreLayout((4, 4, 4), (4, 4, 4), (8, 8))
    for layout, way in ((cheap, "factored"), (dear, "dense")):
        cores, x = random_cores(layout), np.ones((64, layout.n_in), np.float32)
        counts = {w: dot_macs(lambda x, w=w, c=cores: codecs.apply(x, c, w), x) for w in ("auto", "factored", "dense")}
        assert counts["auto"] == counts[way] == min(counts.values())


@pytest.mark.parametrize("rank", [4, 12])
def test_initial_cores_give_the_variance_asked_for(rank):
    layout = CoreLayout((8, 8), (8, 8), (rank,))
    draw = jax.jit(jax.vmap(lambda key: jnp.mean(decode(initial(key, layout, 1 / 64)) ** 2)))
    means = np.asarray(draw(jax.random.split(jax.random.key(rank), 400)))
    assert means.mean() * 64 == pytest.approx(1, abs=float(4 * means.std() * 64 / 20))
    assert means.std() * 64 < 2 / math.sqrt(rank)


def test_rounding_reaches_what_a_decomposition_of_the_matrix_does():
    layout = CoreLayout((4, 4, 4), (4, 4, 4), (9, 9))
    cores = random_cores(layout)
    w = np.asarray(decode(cores))
    for target in ({"rank": 4}, {"rel_error": 0.5}):
        smaller = rounded(cores, **target)
        record = TensorTrain(**target, modes_in=(4, 4, 4), modes_out=(4, 4, 4)).compress(w)[1]
        assert CoreLayout.of(smaller).ranks == record.ranks
        error = np.linalg.norm(decode(smaller) - w) / np.linalg.norm(w)
        assert error == pytest.approx(record.rel_error, rel=1e-4)
    zeros = np.zeros((4, 4, 9, 9), np.float32)
    doubled = [np.concatenate([c, c], -1) if k == 0 else np.concatenate([c, c], 0) if k == 2 else
               np.block([[c.transpose(1, 2, 0, 3), zeros], [zeros, c.transpose(1, 2, 0, 3)]]).transpose(2, 0, 1, 3)
               for k, c in enumerate(map(np.asarray, cores))]  # fmt: skip
    doubled = [jnp.asarray(c) for c in doubled]
    np.testing.assert_allclose(decode(doubled), 2 * w, rtol=1e-4, atol=1e-3)
    assert CoreLayout.of(rounded(doubled, rel_error=1e-5)).ranks == (9, 9)
    same = jax.jit(lambda c: rounded(c, rank=4))(cores)
    np.testing.assert_allclose(decode(same), decode(rounded(cores, rank=4)), atol=1e-3)


def test_gauges_leave_the_matrix_alone():
    cores = random_cores(CoreLayout((4, 4, 4), (4, 4, 4), (5, 3)))
    orthogonal = left_orthogonal(cores)
    for core in orthogonal[:-1]:
        flat = np.asarray(core).reshape(-1, core.shape[-1])
        np.testing.assert_allclose(flat.T @ flat, np.eye(core.shape[-1]), atol=1e-5)
    even = balanced(cores)
    sizes = [rms(core) for core in even]
    assert max(sizes) <= 2 * min(sizes)
    for other in (orthogonal, even):
        np.testing.assert_allclose(decode(other), decode(cores), rtol=1e-4, atol=1e-3)
    with jax.numpy_dtype_promotion("strict"):  # powers of two: exact in half precision, too
        halves = codecs.balanced([jnp.full((1, 2, 1, 1), 8.0, jnp.bfloat16), jnp.full((1, 1, 2, 1), 0.5, jnp.bfloat16)])
    assert [(half.dtype, float(half.max())) for half in halves] == [(jnp.bfloat16, 2.0)] * 2
    zeros, ones = np.zeros((1, 2, 2, 2), np.float32), np.ones((2, 2, 2, 1), np.float32)
    np.testing.assert_array_equal(balanced([zeros, ones])[1], ones)


def test_errors_of_cores_add_up_as_the_formula_says():
    cores = random_cores(CoreLayout((4, 4, 4), (4, 4, 4), (5, 3)))
    w, errors = decode(cores), np.float32([0.02, 0.01, 0.03])
    found = propagate_errors(cores, errors)

    def draw(key):
        keys = jax.random.split(key, 3)
        noise = [jax.random.normal(k, c.shape) for k, c in zip(keys, cores, strict=True)]
        scaled = [e * n * jnp.linalg.norm(c) / math.sqrt(c.size) for e, n, c in zip(errors, noise, cores, strict=True)]
        return jnp.linalg.norm(decode([c + n for c, n in zip(cores, scaled, strict=True)]) - w) / jnp.linalg.norm(w)

    samples = np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), 2000)))
    deviation = rms(samples)
    assert float(found.relative) == pytest.approx(deviation, rel=0.02)
    assert np.linalg.norm(found.by_core) == pytest.approx(float(found.relative), rel=1e-5)
    assert float(samples.max()) < float(found.bound)


def test_gradients_batches_and_half_precision():
    cores = random_cores(CoreLayout((4, 4), (4, 2), (3,)))
    x = np.asarray(jax.random.normal(jax.random.key(0), (5, 16)))

    def loss(cores, way):
        return jnp.sum(apply(x, cores, way) ** 2)

    by_cores, by_matrix = (jax.jit(jax.grad(loss), static_argnums=1)(cores, way) for way in ("factored", "dense"))
    for mine, other in zip(by_cores, by_matrix, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-3)
    mapped = jax.jit(jax.vmap(lambda x: codecs.apply(x, cores, "factored")))(x)
    np.testing.assert_allclose(mapped, apply(x, cores), rtol=1e-4, atol=1e-4)

    w = jnp.asarray(random_matrix(16, 16), jnp.bfloat16)
    factors, record = TensorTrain(rank=100, cores=2).compress(w)
    assert {core.dtype for core in factors} == {jnp.dtype(jnp.bfloat16)}
    assert 1e-4 < record.rel_error < 0.02  # rounding of the cores, not of the decomposition
    half = apply(x.astype(jnp.bfloat16), factors)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(half, np.float32), x @ np.asarray(w, np.float32), atol=0.5)


def test_encoding_under_jit_is_the_same_and_refuses_a_derivative():
    w = jnp.asarray(random_matrix(), jnp.float32)
    codec = TensorTrain(rank=5, modes_in=MODES[0], modes_out=MODES[1])
    np.testing.assert_allclose(decode(jax.jit(codec.encode)(w)), decode(codec.compress(w)[0]), atol=1e-4)
    with pytest.raises(InputError, match="no useful derivative; train the cores"):
        jax.grad(lambda w: decode(codec.encode(w)).sum())(w)
    with pytest.raises(InputError, match="encode: shapes must be known"):
        TensorTrain(rel_error=0.1).encode(w)
    with pytest.raises(InputError, match="w is traced"):
        jax.jit(lambda w: codec.compress(w)[0])(w)


def test_modes_by_default():
    assert balanced_modes(1024, 1024, 4) == ((8, 8, 4, 4), (8, 8, 4, 4))
    assert balanced_modes(64, 64, 3) == ((4, 4, 4), (4, 4, 4))
    assert balanced_modes(13, 11, 2) == ((13, 1), (1, 11))  # two primes: a low-rank product
    assert balanced_modes(1, 1, 2) == ((1, 1), (1, 1))
    for n_in, n_out, cores in ((784, 256, 3), (97, 64, 4), (10, 7, 3)):
        ins, outs = balanced_modes(n_in, n_out, cores)
        assert (math.prod(ins), math.prod(outs), len(ins), len(outs)) == (n_in, n_out, cores, cores)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TensorTrain(), "exactly one of rel_error, rank, max_params, max_fraction, not none"),
        (lambda: TensorTrain(rank=2, rel_error=0.1), "not rel_error and rank"),
        (lambda: LowRank(rank=0), r"LowRank.rank = 0: must be an integer of at least 1"),
        (lambda: LowRank(rank=True), "must be an integer"),
        (lambda: TensorTrain(rel_error=1.5), "at least 0 and less than 1"),
        (lambda: TensorTrain(max_fraction=0), "greater than 0 and at most 1"),
        (lambda: TensorTrain(rank=2, cores=1), "between 2 and 8"),
        (lambda: TensorTrain(rank=2, modes_in=(4, 4)), "give both modes_in and modes_out"),
        (lambda: TensorTrain(rank=2, modes_in=(4, 4), modes_out=(4, 2, 2)), "must be equally many"),
        (lambda: TensorTrain(rank=2, modes_in="4", modes_out=(4,)), "must be integers"),
        (
            lambda: TensorTrain(rank=2, modes_in=(4, 4), modes_out=(4, 4)).compress(jnp.ones((16, 12))),
            "multiplies to 16, the matrix has 12 outputs",
        ),
        (
            lambda: TensorTrain(max_params=10).compress(jnp.ones((64, 64))),
            r"a budget of 10 numbers for a 64 x 64 matrix: at rank 1 its cores \(4x4 4x4 4x4, rank 1 1\) take 48",
        ),
        (lambda: TensorTrain(rank=2).compress(jnp.ones((4, 4)) * jnp.nan), "NaN or infinity"),
        (lambda: TensorTrain(rank=2).compress(jnp.ones(4)), r"must be a matrix \[n_in, n_out\]"),
        (lambda: TensorTrain(rank=2).compress(jnp.ones((4, 4), int)), "real numbers of a floating type"),
        (lambda: TensorTrain(rel_error=0.1).layout(4, 4), "ranks follow from the values of a matrix"),
        (lambda: apply(jnp.ones(5), [jnp.ones((1, 2, 2, 1))]), "the cores take 2 inputs"),
        (lambda: apply(jnp.ones(2), [jnp.ones((1, 2, 2, 1))], "fast"), "must be one of auto, factored, dense"),
        (lambda: decode([jnp.ones((1, 2, 2, 3)), jnp.ones((2, 2, 2, 1))]), "ranks must agree"),
        (lambda: rounded([jnp.ones((1, 2, 2, 1))]), "give one of rel_error and rank"),
        (
            lambda: initial(jax.random.key(0), CoreLayout((2,), (2,), ()), -1.0),
            "variance = -1.0: must be a finite number",
        ),
        (lambda: propagate_errors([jnp.ones((1, 2, 2, 1))], [0.1, 0.2]), "one for each of 1 cores"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_record_prints():
    record = TensorTrain(rank=2).compress(jnp.asarray(random_matrix(64, 64), jnp.float32))[1]
    assert "4x4 4x4 4x4, rank 2 2" in str(record)
    assert record.macs_dense == 4096
    assert record.ratio == 4096 / 128
    assert TensorTrain(rel_error=0.1).compress(jnp.zeros((4, 4)))[1].ranks == (1, 1)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_short_numbers_keep_the_ranks_that_were_asked_for(dtype):
    w = jnp.asarray(random_matrix(32, 32), dtype)
    assert LowRank(rank=12).compress(w)[1].ranks == (12,)
    steep = jnp.diag(jnp.array([1.0, *[2**-9] * 31])).astype(dtype)  # small beside the first, and exact
    for codec, ranks in ((LowRank(rank=12), 12), (LowRank(max_params=640), 10), (LowRank(rank=99), 32)):
        factors, record = codec.compress(steep)
        assert record.ranks == (ranks,)
        assert CoreLayout.of(rounded(factors, rank=9)).ranks == (9,)
        assert CoreLayout.of(rounded(factors, rel_error=1e-4)).ranks == (ranks,)
    _, record = LowRank(rel_error=0.05).compress(w)
    assert 0.02 < record.rel_error < 0.055
    cores = tuple(core.astype(dtype) for core in random_cores(CoreLayout((4, 4), (4, 4), (12,))))
    assert CoreLayout.of(rounded(cores, rank=7)).ranks == (7,)
    smaller = np.asarray(decode(rounded(cores, rel_error=0.1)), np.float64)
    whole = np.asarray(decode(cores), np.float64)
    assert np.linalg.norm(smaller - whole) < 0.12 * np.linalg.norm(whole)
    for made in (left_orthogonal(cores), jax.jit(lambda c: rounded(c, rank=7))(cores), balanced(cores)):
        assert {core.dtype for core in made} == {jnp.dtype(dtype)}


def test_many_small_singular_values_are_no_rounding():
    w = np.diag([1.0, *[3e-7] * 63])
    assert LowRank(rank=100).compress(jnp.asarray(w, jnp.float32))[1].ranks == (64,)
    assert LowRank(rel_error=0.0).compress(jnp.diag(jnp.array([1.0, 1e-9, 0.0])))[1].ranks == (2,)


def test_balancing_moves_no_bit_and_no_derivative_is_nan():
    first, second, third = random_cores(CoreLayout(*MODES, (3, 2)))
    cores = (1e3 * first, second, 7e-4 * third)
    even = balanced(cores)
    np.testing.assert_array_equal(decode(even), decode(cores))
    sizes = [rms(core) for core in even]
    assert max(sizes) <= 2 * min(sizes)
    zero = (cores[0] * 0, *cores[1:])
    gradients = jax.jit(jax.grad(lambda c: decode(balanced(c)).sum()))(zero)
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)
    found = propagate_errors(zero, 0.1)
    assert float(found.relative) == float(found.bound) == 0


def test_a_budget_is_used_up_by_single_ranks():
    """An equal loss at every cut leaves numbers over where cuts are of different sizes."""
    w = jnp.asarray(random_matrix(64, 64, seed=1), jnp.float32)
    for share in (0.1, 0.2, 0.3, 0.4):
        codec = TensorTrain(max_fraction=share, modes_in=(2, 8, 4), modes_out=(2, 8, 4))
        layout = codec.compress(w)[1].layout
        for k, most in enumerate(layout.full_ranks):
            ranks = (*layout.ranks[:k], layout.ranks[k] + 1, *layout.ranks[k + 1 :])
            if ranks[k] <= most:
                assert CoreLayout(layout.modes_in, layout.modes_out, ranks).params > share * 4096
