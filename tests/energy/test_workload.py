"""Counting operations of JAX functions against closed forms."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import analogsim
from analogsim import InputError, convert, preset
from analogsim.energy import workload
from analogsim.energy.work.layer_work import count
from analogsim.training.recipes.large_networks import AlexNet, ResNet50
from tests.energy.energy_models import of_ones

W, X = jnp.ones((6, 4)), jnp.ones((3, 6))


def shapes(model, shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), x), x


def test_a_product_and_what_follows_it():
    work = workload(lambda w, x: jnp.tanh(x @ w) + 1, W, X)
    assert (work.macs, work.results, work.flop) == (72, 24, 168)
    (product,) = work.products
    assert (product.weight_words, product.input_words, product.output_words) == (24, 18, 12)
    assert work.total_bytes == 4 * (24 + 18 + 12)
    assert work.intensity == pytest.approx(168 / 216)
    assert product.weight_reuse == 3


@pytest.mark.parametrize("order", ["ij,jk->ik", "bij,bjk->bik", "ij,jkl->ikl", "abc,cbd->ad"])
def test_einsums(order):
    sizes = dict(zip("abcdijkl", (2, 3, 4, 5, 3, 4, 5, 6), strict=True))
    left, right = order.split("->")[0].split(",")
    a, b = (jnp.ones([sizes[c] for c in part]) for part in (left, right))
    work = workload(lambda w, x: jnp.einsum(order, x, w), b, a)
    assert work.macs == np.prod([sizes[c] for c in set(left + right)])


def test_alexnet_to_the_last_mac():
    # Krizhevsky 2012: outputs x window x channels of a group, five convolutions and three dense layers.
    work = workload(AlexNet().apply, *shapes(AlexNet(), (1, 227, 227, 3)))
    assert [op.total_macs for op in work.products] == [
        55 * 55 * 96 * 11 * 11 * 3,
        27 * 27 * 256 * 5 * 5 * 48,
        13 * 13 * 384 * 3 * 3 * 256,
        13 * 13 * 384 * 3 * 3 * 192,
        13 * 13 * 256 * 3 * 3 * 192,
        9216 * 4096,
        4096 * 4096,
        4096 * 1000,
    ]
    assert sum(op.total_macs for op in work.products[:5]) == 665_784_864
    assert work.weights == 60_954_656  # 60,965,224 parameters less 10,568 biases
    assert work.parameters == 60_965_224


def test_resnet50():
    # Stem, four stages, head: 118,013,952 + ... = 4.089 G multiply-accumulates with the stride in the 3 x 3 window.
    work = workload(ResNet50().apply, *shapes(ResNet50(), (1, 224, 224, 3)))
    stem, head = 112 * 112 * 64 * 49 * 3, 2048 * 1000
    stages = 0
    c_in = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        f, size = 64 * 2**stage, 56 // 2**stage
        before = size * (2 if stage else 1)
        for block in range(blocks):
            wide = before if block == 0 else size
            stages += wide * wide * c_in * f + size * size * 9 * f * f + size * size * f * 4 * f
            stages += size * size * c_in * 4 * f if block == 0 else 0
            c_in = 4 * f
    assert work.macs == stem + stages + head


@pytest.mark.parametrize(
    ("conv", "shape", "macs"),
    [
        (nn.Conv(5, (3,), padding="VALID"), (2, 8, 4), 2 * 6 * 3 * 4 * 5),
        (nn.Conv(5, (3, 3, 3)), (1, 4, 4, 4, 2), 64 * 27 * 2 * 5),
        (nn.Conv(6, (3, 3), feature_group_count=6), (1, 5, 5, 6), 25 * 9 * 6),
        (nn.Conv(5, (3, 3), kernel_dilation=2, padding="VALID"), (1, 9, 9, 2), 25 * 9 * 2 * 5),
        (nn.ConvTranspose(4, (2,), strides=(2,)), (1, 5, 3), 10 * 3 * 4),  # each output meets one input
    ],
)  # fmt: skip
def test_convolutions(conv, shape, macs):
    work = workload(conv.apply, *shapes(conv, shape))
    assert work.macs == macs
    (op,) = work.products
    assert op.shape.macs == macs
    assert op.shape.n_in * op.shape.n_out * op.shape.count == op.weight_words


def test_loops_are_multiplied_through():
    stack = jnp.ones((5, 4, 4))

    def scanned(w, x):
        return lax.scan(lambda c, layer: (jnp.tanh(c @ layer), None), x, w)[0]

    work = workload(scanned, stack, jnp.ones((2, 4)))
    assert (work.macs, work.results, work.weights) == (5 * 32, 5 * 8, 5 * 16)
    nested = workload(lambda w, x: lax.fori_loop(0, 3, lambda i, c: scanned(w, c), x), stack, jnp.ones((2, 4)))
    assert (nested.macs, nested.weights) == (3 * 5 * 32, 5 * 16)  # the same weights again


def test_one_matrix_in_a_loop_is_read_once():
    work = workload(lambda w, x: lax.fori_loop(0, 7, lambda i, c: c @ w, x), jnp.ones((4, 4)), jnp.ones((2, 4)))
    assert (work.macs, work.weights) == (7 * 32, 16)


def test_while_loops_must_say_how_often_they_run():
    def halve(w, x):
        return lax.while_loop(lambda c: c.sum() > 1, lambda c: 0.5 * (c @ w), x)

    with pytest.raises(InputError, match="while_loops = None: the function has a while loop"):
        workload(halve, jnp.ones((4, 4)), jnp.ones((2, 4)))
    work = workload(halve, jnp.ones((4, 4)), jnp.ones((2, 4)), while_loops=6)
    assert work.macs == 6 * 32
    assert work.results == 6 * 8 + 7 * (8 + 1)  # the condition runs once more: a sum and a comparison


def test_cond_counts_its_dearest_branch():
    def either(w, x):
        return lax.cond(x.sum() > 0, lambda c: c @ w, lambda c: c[:, :4] + 1, x)

    work = workload(either, jnp.ones((6, 4)), jnp.ones((3, 6)))
    assert work.macs == 72
    assert len(work.products) == 1


def test_calls_remat_and_custom_derivatives_are_looked_into():
    @jax.custom_vjp
    def double(x):
        return 2 * x

    double.defvjp(lambda x: (double(x), None), lambda _, g: (2 * g,))

    def f(w, x):
        y = jax.checkpoint(lambda a: jnp.sin(a @ w))(x)
        return jax.jit(lambda a: jax.nn.relu(double(a)))(y)

    work = workload(f, W, X)
    assert (work.macs, work.results) == (72, 3 * 12)


def test_gradients_cost_two_more_products():
    loss = lambda w, x: jnp.sum(x @ w)  # noqa: E731
    work = workload(jax.grad(lambda w, x: jnp.sum((x @ w) ** 2)), W, X)
    assert workload(loss, W, X).macs == 72
    assert work.macs == 2 * 72  # forward, and the weights' gradient


def test_vmap_is_a_batch_and_shards_add_up():
    batched = workload(jax.vmap(lambda w, x: x @ w, in_axes=(None, 0)), W, jnp.ones((5, 3, 6)))
    assert (batched.macs, batched.weights) == (5 * 72, 24)


def test_weights_are_told_from_activations():
    def attend(w, x):
        q, k = x @ w, x @ w
        return jax.nn.softmax(q @ k.T) @ q

    work = workload(attend, W, X)
    assert [op.new_weight_words for op in work.products] == [24, 0, 0, 0]  # the same matrix twice, then activations
    frozen = workload(lambda w, x: x @ (w * 2).T.T, W, X)  # computed from weights alone: once a call
    assert [op.per_example for op in frozen.all] == [False, True]
    assert frozen.products[0].weight_words == 24
    both = workload(lambda a, b: a @ b, X, W, weights=())
    assert both.products[0].weight_words == 0


def test_look_ups_read_rows():
    work = workload(lambda w, ids: w[ids], jnp.ones((100, 8)), jnp.array([[1, 2], [3, 4]]))
    (op,) = [op for op in work.all if op.kind == "lookup"]
    assert (op.weight_words, op.input_words, op.macs) == (32, 4, 0)


def test_what_is_not_known_is_said():
    work = workload(lambda w, x: jnp.linalg.qr(x @ w)[0], W, X)
    assert [name for name, _ in work.uncounted] == ["geqrf", "householder_product"] or work.uncounted
    assert "Not counted" in str(work)


def test_widths_of_numbers():
    work = workload(lambda w, x: x @ w, W.astype(jnp.bfloat16), X.astype(jnp.bfloat16))
    assert work.total_bytes == 2 * (24 + 18 + 12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(weights=2), "weights = 2: must be the index of an argument, 0 to 1"),
        (dict(examples=0), "examples = 0: must be an integer of at least 1"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(InputError, match=message):
        workload(lambda w, x: x @ w, W, X, **options)


class Block(nn.Module):
    """An embedding, attention, a recurrent layer, a grouped convolution and a head."""

    @nn.compact
    def __call__(self, ids):
        x = nn.Embed(50, 8)(ids)
        x = x + nn.MultiHeadDotProductAttention(num_heads=2)(x, x)
        x = nn.RNN(nn.LSTMCell(6))(x)
        x = nn.relu(nn.Conv(12, (3,), feature_group_count=3)(x))
        return nn.Dense(4)(x.mean(axis=1))


@pytest.fixture(scope="module")
def block():
    ids = jax.random.randint(jax.random.key(1), (3, 5), 0, 50)
    return convert(Block(), preset("pcm")), of_ones(Block(), ids), ids


def test_the_layers_of_a_model_add_up_with_the_rest(block):
    model, variables, ids = block
    work = count(model, variables, ids)
    scores = 2 * 2 * 5 * 5 * 4  # two heads of four features: queries with keys, weights with values
    assert work.macs == work.analog_macs + scores
    assert {op.layer for op in work.operations.products if op.layer} == {
        layer.use.path for layer in work.layers if not layer.use.is_lookup
    }
    with analogsim.digital():
        plain = workload(model.apply, variables, ids)
    assert plain.macs == 3 * work.macs


def test_shapes_alone_count_the_same_as_data(block):
    model, variables, ids = block
    run = count(model, variables, ids)
    seen = count(model, jax.eval_shape(lambda: variables), jax.ShapeDtypeStruct(ids.shape, ids.dtype))
    assert (seen.macs, seen.analog_macs, seen.weights) == (run.macs, run.analog_macs, run.weights)
    assert seen.other_parameters == run.other_parameters
    assert run.has_values
    assert not seen.has_values


def test_nnx_models_name_their_layers():
    model = convert(nnx.Linear(6, 4, rngs=nnx.Rngs(0)), preset("pcm"))
    work = count(model, None, X)
    assert work.macs == work.analog_macs == 24
    assert [op.layer for op in work.operations.products] == ["(the model itself)"]
