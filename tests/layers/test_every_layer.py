"""Every kind of Flax layer on ideal hardware, cut into small tiles, is the layer, outputs and gradients.

The plain layers are the second implementation. Programmed chips of ideal hardware are compared with them, too: what a
chip holds is found by another road than what a call multiplies with. All that is compared of a layer is one program,
since compiling is what takes time here.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import analogsim
from analogsim import Shared, convert, preset
from analogsim.models.bound import programmed_leaves

KEY = jax.random.key(0)
SMALL = preset("ideal", rows=20, columns=6)  # several tiles of every layer here
PACKED = SMALL.replace(groups="shared")


def image(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


IDS = np.array([[0, 3, -1], [7, 2, 2]])
MASK = (np.arange(3 * 4 * 6).reshape(3, 4, 6) % 3 > 0).astype(np.float32)

HALF = np.concatenate([np.zeros((1, 3, 8)), np.ones((2, 3, 8))]).astype(np.float32)

#: name: (layer, input)
LINEN = {
    "dense": (nn.Dense(7), image(3, 41)),
    "dense_general": (nn.DenseGeneral((2, 5), axis=(-2, -1)), image(3, 4, 6)),
    "batch_dims": (nn.DenseGeneral((2, 2), axis=-1, batch_dims=(0,)), image(7, 2, 3)),
    "einsum": (nn.Einsum((6, 2, 4), "...d,dhk->...hk"), image(3, 5, 6)),
    "einsum_moved": (nn.Einsum((2, 6, 4), "btd,hdk->bhkt"), image(3, 5, 6)),
    "einsum_batch": (nn.Einsum((5, 3, 4), "bhtd,hdk->bthk"), image(2, 5, 3, 3)),
    "einsum_alone": (nn.Einsum((6, 4), "bsd,dk->bk", use_bias=False), image(3, 5, 6)),
    "conv_1d": (nn.Conv(5, (4,), strides=2), image(2, 9, 3)),
    "conv_2d": (nn.Conv(7, (3, 2), strides=(2, 1), padding="VALID", kernel_dilation=(1, 2)), image(2, 7, 8, 11)),
    "conv_3d": (
        nn.Conv(3, (2, 2, 2), padding=((1, 0), (0, 1), (1, 1)), input_dilation=(1, 2, 1)),
        image(2, 4, 3, 3, 6),
    ),
    "conv_wide": (nn.Conv(3, (5, 5)), image(2, 6, 6, 2)),  # a single window exceeds a tile
    "conv_one": (nn.Conv(7, (1, 1), strides=2, padding=((1, 0), (0, 2)), input_dilation=2), image(2, 6, 5, 23)),
    "conv_circular": (nn.Conv(4, (3,), padding="CIRCULAR", mask=MASK[:, :, :4]), image(2, 6, 4)),
    "conv_causal": (nn.Conv(4, (3,), padding="CAUSAL"), image(6, 4)),
    "conv_groups": (nn.Conv(8, (3,), feature_group_count=4), image(2, 6, 12)),
    "conv_large_groups": (nn.Conv(4, (3, 3), feature_group_count=2), image(2, 4, 4, 10)),
    "conv_depthwise": (nn.Conv(10, (2, 2), feature_group_count=5, strides=2), image(2, 4, 4, 5)),
    "transpose_same": (nn.ConvTranspose(5, (3,), strides=(2,)), image(2, 5, 7)),
    "transpose_valid": (nn.ConvTranspose(4, (2, 3), strides=(3, 2), padding="VALID"), image(2, 4, 3, 5)),
    "transpose_padded": (nn.ConvTranspose(4, (3, 4), (2, 1), ((1, 2), (0, 3)), (2, 1)), image(2, 4, 5, 3)),
    "transpose_circular": (nn.ConvTranspose(4, (4, 3), (2, 2), padding="CIRCULAR"), image(2, 3, 5, 2)),
    "transpose_kernel": (nn.ConvTranspose(4, (4, 3), (2, 2), "CIRCULAR", transpose_kernel=True), image(2, 3, 5, 2)),
    "transpose_masked": (nn.ConvTranspose(6, (3,), mask=MASK), image(5, 4)),
    "conv_local": (nn.ConvLocal(3, (3, 2), strides=(2, 1), kernel_dilation=(1, 2)), image(2, 6, 5, 4)),
    "conv_local_circular": (nn.ConvLocal(3, (4,), padding="CIRCULAR"), image(2, 5, 4)),
    "embed": (nn.Embed(45, 7), IDS),
    "embed_one": (nn.Embed(1, 7), IDS),
    "attention": (nn.MultiHeadDotProductAttention(num_heads=2, qkv_features=8), image(2, 4, 6)),
    "lstm": (nn.RNN(nn.LSTMCell(4)), image(2, 3, 5)),
    "fused_lstm": (nn.RNN(nn.OptimizedLSTMCell(4)), image(2, 3, 5)),
    "gru": (nn.RNN(nn.GRUCell(4), reverse=True), image(2, 3, 5)),
    "bidirectional": (nn.Bidirectional(nn.RNN(nn.SimpleCell(4)), nn.RNN(nn.MGUCell(4))), image(2, 3, 5)),
    "conv_lstm": (nn.RNN(nn.ConvLSTMCell(2, (2, 2))), image(2, 3, 4, 4, 2)),
    "weight_norm": (nn.WeightNorm(nn.Dense(5)), image(3, 6)),
}


def randomised(params):
    """Biases are not to be zero."""
    return jax.tree.map(lambda a: a + 0.1 * image(*a.shape).astype(a.dtype), params)


def with_gradients(run, params, x):
    """Outputs, and gradients of a sum that no output leaves out."""

    def loss(params, x):
        y = run(params, x)
        return jnp.sum(jnp.sin(y) * jnp.arange(1.0, y.size + 1).reshape(y.shape) / y.size), y

    by = (0,) if jnp.issubdtype(x.dtype, jnp.integer) else (0, 1)
    (_, y), gradients = jax.value_and_grad(loss, argnums=by, has_aux=True)(params, x)
    return y, gradients


def assert_close(mine, exact):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), mine, exact)


@pytest.mark.parametrize("name", LINEN)
def test_linen(name):
    layer, x = LINEN[name]
    analog = convert(layer, PACKED if "groups" in name or "batch" in name else SMALL)
    given = Shared(x) if name == "batch_dims" else x  # a batch of one would have another kernel

    @jax.jit
    def everything(key, x):
        variables, drawn = layer.init(key, x), analog.init(key, x)
        params, rest = randomised(variables["params"]), {k: v for k, v in variables.items() if k != "params"}
        exact, trained = (
            with_gradients(lambda p, a, m=m: m.apply({**rest, "params": p}, a), params, x) for m in (layer, analog)
        )
        chip = analogsim.program(analog, {**rest, "params": params}, key, given)
        return variables, drawn, exact, trained, analog.apply(chip.variables, x)

    variables, drawn, exact, trained, programmed = everything(KEY, x)
    assert jax.tree.structure(drawn) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, drawn, variables)
    assert_close(trained, exact)
    assert_close(programmed, exact[0])


NNX = {
    "linear": (lambda r: nnx.Linear(41, 7, rngs=r), image(3, 41)),
    "linear_general": (lambda r: nnx.LinearGeneral((4, 6), (2, 5), axis=(-2, -1), rngs=r), image(3, 4, 6)),
    "batch_axis": (lambda r: nnx.LinearGeneral(3, (2, 2), batch_axis={0: 7}, rngs=r), image(7, 2, 3)),
    "einsum": (lambda r: nnx.Einsum("...d,dhk->...hk", (6, 2, 4), (2, 4), rngs=r), image(3, 5, 6)),
    "einsum_batch": (lambda r: nnx.Einsum("bhtd,hdk->bthk", (5, 3, 4), rngs=r), image(2, 5, 3, 3)),
    "conv": (lambda r: nnx.Conv(11, 7, (3, 2), strides=(2, 1), kernel_dilation=(1, 2), rngs=r), image(2, 7, 8, 11)),
    "conv_groups": (lambda r: nnx.Conv(12, 8, (3,), feature_group_count=4, mask=HALF, rngs=r), image(2, 6, 12)),
    "transpose": (lambda r: nnx.ConvTranspose(2, 4, (4, 3), (2, 2), padding="CIRCULAR", rngs=r), image(2, 3, 5, 2)),
    "transpose_kernel": (
        lambda r: nnx.ConvTranspose(3, 4, (4, 3), (2, 1), transpose_kernel=True, mask=np.ones((4, 3, 4, 3)), rngs=r),
        image(2, 3, 5, 3),
    ),
    "embed": (lambda r: nnx.Embed(45, 7, rngs=r), IDS),
    "attention": (lambda r: nnx.MultiHeadAttention(2, 6, 8, decode=False, rngs=r), image(2, 4, 6)),
    "lstm": (lambda r: nnx.RNN(nnx.LSTMCell(5, 4, rngs=r)), image(2, 3, 5)),
    "gru": (lambda r: nnx.RNN(nnx.GRUCell(5, 4, rngs=r)), image(2, 3, 5)),
    "lora": (lambda r: nnx.LoRA(6, 2, 5, base_module=nnx.Linear(6, 5, rngs=r), rngs=r), image(3, 6)),
    "lora_linear": (lambda r: nnx.LoRALinear(6, 5, lora_rank=2, rngs=r), image(3, 6)),
}  # fmt: skip


@pytest.mark.parametrize("name", NNX)
def test_nnx(name):
    make, x = NNX[name]

    @jax.jit
    def everything(key, x):
        plain = make(nnx.Rngs(key))
        nnx.update(plain, randomised(nnx.state(plain, nnx.Param)))
        analog = convert(plain, PACKED if "groups" in name or "batch" in name else SMALL)
        assert jax.tree.structure(nnx.state(analog, nnx.Param)) == jax.tree.structure(nnx.state(plain, nnx.Param))
        chip = analogsim.program(analog, key=key)
        assert len(chip.cells) >= 1
        back = analogsim.to_digital(analog)
        assert type(back) is type(plain)

        found = []
        for model in (plain, analog, analogsim.nnx.on_chip(analog, chip)):
            graph, params, rest = nnx.split(model, nnx.Param, ...)
            run = lambda p, a, graph=graph, rest=rest: nnx.merge(graph, p, rest, copy=True)(a)  # noqa: E731
            found.append(jax.tree.leaves(with_gradients(run, params, x)))
        return *found, (back(x), plain(x))

    exact, trained, programmed, (back, plain) = everything(KEY, x)
    assert_close(trained, exact)
    assert_close(programmed, exact)
    np.testing.assert_array_equal(back, plain)


def test_a_model_that_is_a_table():
    query = image(2, 7)

    @jax.jit
    def attend(key, query):
        table, variables = nn.Embed(45, 7), nn.Embed(45, 7).init(key, IDS)
        return [m.apply(variables, query, method="attend") for m in (convert(table, SMALL), table)]

    np.testing.assert_allclose(*attend(KEY, query), atol=1e-5)
    plain = nnx.Embed(45, 7, rngs=nnx.Rngs(0))
    analog = convert(plain, SMALL)
    np.testing.assert_allclose(*nnx.jit(lambda a, b, q: (a.attend(q), b.attend(q)))(analog, plain, query), atol=1e-5)
    assert analogsim.summary(analog).paths == ("(the model itself)", "attend")
    assert set(jax.eval_shape(lambda k: analogsim.program(analog, key=k).cells, KEY)) == {
        "(the model itself)",
        "attend",
    }


@pytest.mark.parametrize("kind", ["linen", "nnx"])
def test_a_table_that_is_attended_to(kind):
    """Tied embeddings: rows of the table going in, products with it coming out."""

    class Tied(nn.Module):
        @nn.compact
        def __call__(self, ids):
            table = nn.Embed(45, 7)
            return table.attend(jnp.tanh(table(ids)))

    class TiedNnx(nnx.Module):
        def __init__(self, rngs):
            self.table = nnx.Embed(45, 7, rngs=rngs)

        def __call__(self, ids):
            return self.table.attend(jnp.tanh(self.table(ids)))

    rules = [("Embed_0" if kind == "linen" else "table", None), (".*", SMALL)]

    def in_linen(key):
        model, variables = Tied(), Tied().init(key, IDS)
        analog = convert(model, SMALL)
        chip = analogsim.program(analog, variables, key, IDS)
        assert [path for path, _ in programmed_leaves(chip.cells)] == ["Embed_0", "Embed_0/attend"]
        half = convert(model, rules)
        assert len(programmed_leaves(analogsim.program(half, variables, key, IDS).cells)) == 1
        inputs = (variables, variables, variables, chip.variables)
        return [m.apply(v, IDS) for m, v in zip((model, half, analog, analog), inputs, strict=True)]

    def in_nnx(key):
        model = TiedNnx(nnx.Rngs(key))
        analog, half = convert(model, SMALL), convert(model, rules)
        chip = analogsim.program(analog, key=key)
        assert set(chip.cells) == {"table", "table/attend"}
        assert set(analogsim.nnx.analog_ops(half)) == {"table/attend"}
        return [m(IDS) for m in (model, half, analog, analogsim.nnx.on_chip(analog, chip))]

    exact, *others = jax.jit(in_linen if kind == "linen" else in_nnx)(KEY)
    for y in others:
        np.testing.assert_allclose(y, exact, atol=1e-5)
