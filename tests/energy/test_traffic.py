"""What passes the memory outside of a chip: closed forms, and all ways to cut a chain tried one by one."""

import itertools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from analogsim.energy import FORMATS, devices, workload
from analogsim.energy.machines import digital
from analogsim.energy.work.layer_work import Workload
from analogsim.energy.work.traffic import Need, needs, plan

H100 = devices()["H100"]
F32 = jnp.float32


def need(weights=0.0, inputs=0.0, outputs=0.0, outside=0.0, **more):
    made = dict(
        weights=weights, distinct=weights, new=weights, leaves=frozenset(), inputs=inputs, outputs=outputs,
        outside=outside, runs=1, loop=(), shared=False, fetches=False,
    )  # fmt: skip
    return Need(**(made | more))


def chain(weights, widths):
    """Layers of so many bytes of weights between maps of so many bytes an example; the first comes from outside."""
    return [
        need(w, a, b, a if i == 0 else 0.0)
        for i, (w, a, b) in enumerate(zip(weights, widths[:-1], widths[1:], strict=True))
    ]


def total(asked, batch, capacity):
    found = plan(asked, batch, capacity)
    return found.weights + found.maps


# --- chains of products ----------------------------------------------------------------------------------------------


def test_a_chain_that_fits_passes_its_ends_and_its_weights_once():
    # Maps of 8 examples: 8 * (30 + 40) B at most; weights 600 B in all.
    asked = chain([100, 200, 300], [10, 30, 40, 20])
    assert total(asked, 8, 8 * 70 + 600) == 600 + 8 * (10 + 20)


def test_weights_stream_by_where_the_batch_fits_beside_none_of_them():
    asked = chain([10_000] * 3, [10, 30, 40, 20])
    assert total(asked, 8, 8 * 70) == 30_000 + 8 * (10 + 20)


def test_a_batch_too_large_is_worked_through_in_pieces_beside_its_weights():
    # 1,000 examples of 70 B beside 600 B: pieces of one example, weights read once all the same.
    found = plan(chain([100, 200, 300], [10, 30, 40, 20]), 1000, 600 + 70)
    assert found.weights + found.maps == 600 + 1000 * (10 + 20)
    assert {m.pieces for m in found.moved} == {1000}
    assert found.stays


def test_weights_once_and_pieces_cannot_both_hold():
    # 1,000 B hold either 14 examples' maps of 70 B or a third of the 3,000 B of weights. 100 examples: 8 pieces read
    # 24,000 B of weights; maps through the memory between the layers are 100 * 2 * (30 + 40) B more than the ends.
    asked = chain([1000] * 3, [10, 30, 40, 20])
    ends = 100 * (10 + 20)
    assert total(asked, 100, 1000) == 3000 + 100 * 2 * (30 + 40) + ends
    # One example's maps that gain: of 1,000 times wider maps, reading the weights for each piece is less.
    wide = chain([1000] * 3, [10_000, 30_000, 40_000, 20_000])
    assert total(wide, 100, 70_999) == 100 * 3000 + 100 * 30_000


def test_a_product_larger_than_the_chip_reads_one_operand_again():
    # Neither 4 kB of weights nor 10 examples of 500 B fit 1 kB: weights for 5 parts of the inputs, or inputs for 4.
    one = [need(4000.0, 500.0, 500.0, 500.0)]
    assert total(one, 10, 1000) == min(5 * 4000 + 5000, 4000 + 4 * 5000) + 5000
    # Outputs that fit are summed up where they stay, and both operands pass once.
    assert total([need(4000.0, 500.0, 100.0, 500.0)], 10, 1000) == 4000 + 5000 + 1000


def every_way(asked, batch, capacity):
    """The least bytes of a chain, by trying all cuts and all pieces."""
    n, least = len(asked), math.inf
    for cuts in itertools.product((False, True), repeat=n - 1):
        edges = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), n]
        bytes_ = 0.0
        for a, b in itertools.pairwise(edges):
            part, tried = asked[a:b], []
            enter, leave = batch * part[0].inputs, batch * part[-1].outputs
            held = sum(x.weights for x in part)
            for each in range(1, batch + 1):
                maps = each * max(x.inputs + x.outputs - x.outside for x in part)
                if maps <= capacity:
                    tried.append(math.ceil(batch / each) * held)
                if maps + held <= capacity:
                    tried.append(held)
            tried = [enter + leave + w for w in tried]
            if len(part) == 1:
                w, i = part[0].weights, batch * part[0].inputs
                tried.append(w * max(1, math.ceil(i / capacity)) + i + leave)
                tried.append(w + i * max(1, math.ceil(w / capacity)) + leave)
            bytes_ += min(tried, default=math.inf)
        least = min(least, bytes_)
    return least


def test_no_other_way_to_cut_a_chain_moves_less():
    rng = np.random.default_rng(3)
    for _ in range(150):
        n = int(rng.integers(1, 6))
        asked = chain(*(list(map(float, np.exp(rng.uniform(0, 7, k)).round())) for k in (n, n + 1)))
        batch, capacity = int(rng.integers(1, 13)), float(np.exp(rng.uniform(2, 9)))
        assert total(asked, batch, capacity) == pytest.approx(every_way(asked, batch, capacity))


def test_more_memory_never_moves_more_and_a_larger_batch_never_less():
    rng = np.random.default_rng(4)
    for _ in range(60):
        n = int(rng.integers(1, 9))
        asked = chain(*(list(map(float, np.exp(rng.uniform(0, 7, k)).round())) for k in (n, n + 1)))
        by_capacity = [total(asked, 9, c) for c in np.exp(np.linspace(1, 12, 40))]
        assert np.all(np.diff(by_capacity) <= 1e-9)
        assert by_capacity[-1] == pytest.approx(
            sum(x.weights for x in asked) + 9 * (asked[0].inputs + asked[-1].outputs)
        )
        by_batch = [total(asked, b, 300.0) for b in range(1, 30)]
        assert np.all(np.diff(by_batch) >= -1e-9)


# --- loops and matrices that come again ------------------------------------------------------------------------------


def recurrent(size, steps):
    """A recurrent network without inputs of its own: one matrix, used at every step."""

    def run(w, h):
        return lax.scan(lambda h, _: (jnp.tanh(h @ w), None), h, length=steps)[0]

    return workload(run, jax.ShapeDtypeStruct((size, size), F32), jax.ShapeDtypeStruct((1, size), F32))


@pytest.mark.parametrize(("capacity", "reads"), [(4 * (100**2 + 200), 1), (4 * 100**2 - 1, 50)])
def test_a_loop_s_matrix_is_read_once_if_it_fits_else_at_every_step(capacity, reads):
    asked = needs(recurrent(100, 50), lambda op: 4.0, lambda op: (4.0, 4.0))
    assert plan(asked, 1, capacity).weights == reads * 4 * 100**2


def test_a_loop_through_a_stack_reads_each_of_its_matrices_once():
    def run(stack, h):
        return lax.scan(lambda h, w: (h @ w, None), h, stack)[0]

    work = workload(run, jax.ShapeDtypeStruct((7, 100, 100), F32), jax.ShapeDtypeStruct((1, 100), F32))
    asked = needs(work, lambda op: 4.0, lambda op: (4.0, 4.0))
    assert plan(asked, 1, 4 * 100**2 - 1).weights == 7 * 4 * 100**2


@pytest.mark.parametrize(("capacity", "reads"), [(4 * (2 * 100**2 + 200), 2), (4 * 100**2, 3)])
def test_a_matrix_that_comes_again_is_read_again_unless_all_since_then_is_kept(capacity, reads):
    matrix = jax.ShapeDtypeStruct((100, 100), F32)
    work = workload(lambda w, h: h @ w[0] @ w[1] @ w[0], [matrix] * 2, jax.ShapeDtypeStruct((1, 100), F32))
    asked = needs(work, lambda op: 4.0, lambda op: (4.0, 4.0))
    assert plan(asked, 1, capacity).weights == reads * 4 * 100**2


# --- attention and convolutions --------------------------------------------------------------------------------------

LAYERS, WIDTH, HEADS, CONTEXT, TOKENS = 12, 768, 12, 1024, 50257


def decode(weights, ids, keys, values):
    """One token through GPT-2 small (without biases), its key and value written into the caches of every layer."""
    norm = lambda x: (x - x.mean(-1, keepdims=True)) * lax.rsqrt(jnp.square(x).mean(-1, keepdims=True))  # noqa: E731
    x = weights["tokens"][ids]  # [n, width]
    for layer in range(LAYERS):
        own = {name: w[layer] for name, w in weights["layers"].items()}
        q, k, v = jnp.split(norm(x) @ own["qkv"], 3, axis=-1)
        k, v = (a.reshape(-1, 1, HEADS, WIDTH // HEADS) for a in (k, v))
        k, v = (lax.dynamic_update_slice(c[layer], a, (0, 9, 0, 0)) for c, a in ((keys, k), (values, v)))
        scores = jax.nn.softmax(jnp.einsum("nhd,nthd->nht", q.reshape(-1, HEADS, WIDTH // HEADS), k))
        x = x + jnp.einsum("nht,nthd->nhd", scores, v).reshape(-1, WIDTH) @ own["out"]
        x = x + jax.nn.gelu(norm(x) @ own["up"]) @ own["down"]
    return norm(x) @ weights["tokens"].T


def gpt2(n=1):
    shape = lambda *s: jax.ShapeDtypeStruct(s, F32)  # noqa: E731
    layers = {"qkv": (WIDTH, 3 * WIDTH), "out": (WIDTH, WIDTH), "up": (WIDTH, 4 * WIDTH), "down": (4 * WIDTH, WIDTH)}
    weights = {"layers": {k: shape(LAYERS, *v) for k, v in layers.items()}, "tokens": shape(TOKENS, WIDTH)}
    cache = shape(LAYERS, n, CONTEXT, HEADS, WIDTH // HEADS)
    ids = jax.ShapeDtypeStruct((n,), jnp.int32)
    return Workload((), workload(decode, weights, ids, cache, cache, examples=n), 0)


@pytest.mark.parametrize("batch", [1, 16, 256])
def test_a_token_of_gpt2_reads_its_whole_cache_whatever_the_batch(batch):
    # bfloat16: weights once a batch; 12 layers x 2 x 768 x 1,024 x 2 B = 37.7 MB of keys and values a token; its
    # number, a row of the table, and 50,257 results. Results of 256 tokens, 25.7 MB, do not fit half of 50 MB: what
    # they are computed from goes out before and comes back.
    weights = 2 * (LAYERS * 12 * WIDTH**2 + TOKENS * WIDTH)
    cache = 2 * LAYERS * 2 * WIDTH * CONTEXT
    assert cache == pytest.approx(37.7e6, rel=2e-3)
    moved = digital.traffic(H100, FORMATS["bf16"], gpt2(), batch)
    ends = 2 * (1 + WIDTH + TOKENS) + (2 * 2 * WIDTH if batch == 256 else 0)
    assert moved.memory / batch == pytest.approx(weights / batch + cache + ends, rel=1e-12)


def test_a_token_of_gpt2_takes_the_time_that_its_bytes_take():
    # 256 tokens: 247 MB of weights and 256 * 37.85 MB at 0.8 * 3.35 TB/s, 3.71 ms; beyond that 5 us of dispatch and
    # at most 9 launches of 3 us in each of 12 layers.
    breakdown = digital.breakdown(H100, gpt2(), 256)
    moving_s = (247e6 + 256 * 37.85e6) / (0.8 * 3.35e12)
    assert moving_s * 0.999 < breakdown.latency_s < moving_s + 5e-6 + 9 * 12 * 3e-6
    assert breakdown.bound == "memory"


def test_a_cache_among_the_model_s_variables_is_read_by_every_example():
    """Flax's attention keeps keys and values in a collection: each example's own, though no argument of the call."""
    layer = nn.MultiHeadDotProductAttention(num_heads=2, qkv_features=8, decode=True)
    n, length = 3, 16
    variables = layer.init(jax.random.key(0), jnp.ones((n, length, 8)))
    one = jax.ShapeDtypeStruct((n, 1, 8), F32)
    call = lambda v, x: layer.apply(v, x, mutable=["cache"])[0]  # noqa: E731
    work = workload(call, variables, one, examples=n)
    asked = needs(work, lambda op: 2.0, lambda op: (2.0, 2.0))
    outside = sum(x.outside for x in asked)
    mask = 2 * length / n  # of the positions so far, shared
    assert outside == pytest.approx(2 * 8 + 2 * 2 * length * 8 + mask, abs=mask)


def test_convolutions_keep_the_maps_of_a_piece():
    # 64 x 64 x 3 -> 64 x 64 x 32 -> 64 x 64 x 32, 3 x 3, bf16: maps of the second are 524,288 B an example.
    model = nn.Sequential([nn.Conv(32, (3, 3), use_bias=False), nn.Conv(32, (3, 3), use_bias=False)])
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), F32)
    work = workload(model.apply, jax.eval_shape(model.init, jax.random.key(0), x), x)
    asked = needs(work, lambda op: 2.0, lambda op: (2.0, 2.0))
    weights, first, second = 2 * 9 * (3 * 32 + 32 * 32), 2 * 64 * 64 * 3, 2 * 64 * 64 * 32
    ends = 100 * (first + second)
    assert total(asked, 100, 2 * second + weights) == weights + ends  # an example at a time
    # Without room for one example's: the map in between goes out and comes back; weights still fit.
    assert total(asked, 100, 2 * second - 1) == weights + ends + 100 * 2 * second
