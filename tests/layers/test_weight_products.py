"""Which parameters meet data in a product: found in every corner of a program, and nothing else with them."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from flax import nnx
from jax import lax

from analogsim.layers.weight_products import WeightProduct, leaf_path, weight_products


def shape(*sizes, dtype="float32"):
    return jax.ShapeDtypeStruct(sizes, dtype)


X = shape(4, 6)  # data [batch, features]
W = shape(6, 6)
KEY = jax.eval_shape(lambda: jax.random.key(0))


def paths(function, parameters, *args):
    return [product.path for product in weight_products(function, parameters, *args)]


def of_w(function, *args, w=W):
    """Paths found in a function of one parameter ``w`` and data."""
    return paths(lambda p, *a: function(p["w"], *a), {"w": w}, *(args or (X,)))


def norm(v):
    return jnp.sqrt((v**2).sum(0))


@pytest.mark.parametrize(
    "function",
    [
        lambda w, x: x @ w,
        lambda w, x: w @ x.T,
        lambda w, x: jnp.einsum("bi,io->bo", x, w),
        lambda w, x: jnp.einsum("bhi,hio->bo", x.reshape(4, 2, 3), w.T.astype(jnp.float16).reshape(2, 3, 6)),
        lambda w, x: x @ (w * (jnp.arange(6) > 2)),
        lambda w, x: x @ jnp.where(jnp.abs(w) > 0.1, w, 0),
        lambda w, x: x @ w[:, 2:5],
        lambda w, x: x @ jnp.concatenate([w, jnp.eye(6)], axis=1),
        lambda w, x: x @ (w + jax.random.normal(jax.random.key(0), w.shape)),
        lambda w, x: jax.vmap(lambda row: w @ row)(x),
        lambda w, x: jax.vmap(lambda column: x @ column, in_axes=1)(w),
        lambda w, x: jax.jit(jnp.matmul)(x, w),
        lambda w, x: jax.jit(lambda w: jax.jit(lambda: x @ w)())(w),
        lambda w, x: jax.checkpoint(jnp.matmul)(x, w),
        lambda w, x: jnp.matmul(*lax.optimization_barrier((x, w))),
        lambda w, x: lax.cond(x[0, 0] > 0, lambda: x @ w, lambda: x),
        lambda w, x: lax.switch(1, [lambda: x, lambda: x + 1, lambda: x @ w]),
        lambda w, x: lax.fori_loop(0, 3, lambda i, h: jnp.tanh(h @ w), x),
        lambda w, x: lax.while_loop(lambda h: (h @ w).sum() > 1, lambda h: h / 2, x),
        lambda w, x: lax.while_loop(lambda c: c[0].sum() > 1, lambda c: (c[0] @ c[1], c[1] / 2), (x, w))[0],
        lambda w, x: jax.grad(lambda x: jnp.tanh(x @ w).sum())(x),
        lambda w, x: jnp.linalg.solve(w, x.T),
        lambda w, x: jnp.eye(6)[jnp.argmax(x, -1)] @ w,
    ],
)
def test_a_matrix_that_data_meets_is_found(function):
    assert of_w(function) == ["w"]


@pytest.mark.parametrize(
    "function",
    [
        lambda w, x: x[:, None] + w,
        lambda w, x: x[:, None] * w,
        lambda w, x: jnp.einsum("bij,ij->bij", jnp.stack([x] * 6, 1), w),
        lambda w, x: w[jnp.argmax(x, -1)],
        lambda w, x: x @ jnp.ones((6, 6)) + (w @ w)[:4],
        lambda w, x: (w @ jax.random.normal(jax.random.key(0), (6, 6)))[:4] + x,
        lambda w, x: jnp.zeros_like(x) @ w,
        lambda w, x: x @ jnp.zeros_like(w),
        lambda w, x: nn.softmax(w)[:4] + x,
        lambda w, x: (x + w[:4]) @ (x + w[:4]).T,
        lambda w, x: x @ jax.random.normal(jax.random.fold_in(jax.random.key(0), w[0, 0].astype(int)), (6, 6)),
    ],
)
def test_what_is_no_product_of_data_with_a_parameter_is_not(function):
    assert of_w(function) == []


def test_an_entry_holds_path_shape_and_primitive():
    found = weight_products(lambda p, x: x @ p["block"][1]["w"], {"block": [{}, {"w": W}]}, X)
    assert found == [WeightProduct(path="block/1/w", shape=(6, 6), primitive="dot_general")]
    assert weight_products(lambda w, x: x @ w, W, X)[0].path == "(the parameter itself)"


def test_convolution():
    image, kernel = shape(1, 8, 8, 3), shape(3, 3, 3, 5)

    def convolve(w, x):
        return lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    found = weight_products(lambda p, x: convolve(p["w"], x), {"w": kernel}, image)
    assert found == [WeightProduct("w", (3, 3, 3, 5), "conv_general_dilated")]
    assert of_w(lambda w, x: nn.avg_pool(x, (2, 2)) * w.mean(), image, w=kernel) == []


def test_groups_of_rows():
    found = weight_products(lambda w, x: lax.ragged_dot(x, w, jnp.array([3, 1])), shape(2, 6, 5), X)
    assert [product.primitive for product in found] == ["ragged_dot_general"]


def test_a_tied_embedding_counts_where_it_attends():
    tokens, table = shape(2, 7, dtype="int32"), shape(11, 6)
    assert of_w(lambda w, t: jnp.take(w, t, axis=0), tokens, w=table) == []
    assert of_w(lambda w, t: jnp.take(w, t, axis=0) @ w.T, tokens, w=table) == ["w"]


def test_every_factor_of_a_weight_is_listed():
    parameters = {"a": shape(6, 2), "b": shape(2, 5)}
    assert paths(lambda p, x: x @ (p["a"] @ p["b"]), parameters, X) == ["a", "b"]
    assert paths(lambda p, x: (x @ p["a"]) @ p["b"], parameters, X) == ["a", "b"]
    assert paths(lambda p, x: x @ jnp.kron(p["a"], p["b"])[:6], parameters, X) == ["a", "b"]


@pytest.mark.parametrize("g", [shape(6), shape(1, 6)])
def test_of_a_normalised_weight_it_is_the_matrix(g):
    assert paths(lambda p, x: x @ (p["g"] * p["v"] / norm(p["v"])), {"g": g, "v": W}, X) == ["v"]


def test_vectors_are_not_listed():
    assert of_w(lambda w, x: x @ w, w=shape(6)) == []
    assert of_w(lambda w, x: x @ w, w=shape(6, 1)) == []
    assert paths(lambda p, x: x @ (p["scale"] * p["w"]), {"w": W, "scale": 2.0}, X) == ["w"]


def test_order_of_first_use_and_each_once():
    parameters = {"a": W, "b": W, "unused": W}

    def function(p, x):
        return jnp.sin(x @ p["b"]) @ p["a"] @ p["b"]

    assert paths(function, parameters, X) == ["b", "a"]


@pytest.mark.parametrize("rule", ["custom_vjp", "custom_jvp"])
@pytest.mark.parametrize("outer", [lambda f: f, jax.jit, lambda f: jax.vmap(f, in_axes=(None, 0))])
def test_inside_custom_derivatives(rule, outer):
    function = getattr(jax, rule)(lambda w, x: jnp.tanh(x @ w))
    if rule == "custom_vjp":
        function.defvjp(lambda w, x: (function(w, x), (w, x)), lambda kept, gradient: kept)
    else:
        function.defjvp(lambda at, along: (function(*at), along[1]))
    assert of_w(outer(function)) == ["w"]


def test_scan_over_stacked_layers_names_the_whole_leaf():
    parameters = {"bias": shape(12, 6), "kernel": shape(12, 6, 6)}

    def function(p, x):
        return lax.scan(lambda h, layer: (jnp.tanh(h @ layer["kernel"] + layer["bias"]), None), x, p)[0]

    assert weight_products(function, parameters, X) == [WeightProduct("kernel", (12, 6, 6), "dot_general")]


def test_scan_over_data():
    parameters = {"h": shape(6, 6), "input": W, "recurrent": W}

    def function(p, x):
        def step(h, row):
            return jnp.tanh(row @ p["input"] + h @ p["recurrent"]), h @ row[:, None]

        return lax.scan(step, p["h"], x)

    assert paths(function, parameters, X) == ["input", "recurrent"]  # not the initial state, though row meets it


def test_a_learned_state_becomes_data_in_a_loop():
    def function(p, x):
        return lax.while_loop(lambda h: h.sum() > 1, lambda h: jnp.tanh(h @ p["w"] + x) * (h @ x.T).sum(), p["h"])

    assert paths(function, {"h": X, "w": W}, X) == ["w"]


def test_a_carry_that_data_reaches_only_after_several_steps():
    parameters = {"a": W, "b": W, "c": W}

    def step(carry, _):
        h, a, b, c = carry
        return (h + 1, h, a, b @ jnp.ones((6, 6))), c  # data moves on by one place a step

    def function(p, x):
        carry, _ = lax.scan(step, (x.T @ x, p["a"], p["b"], p["c"]), length=9)
        return carry[3] @ p["a"], x @ carry[3]

    assert paths(function, parameters, X) == ["a"]


def test_weights_may_swap_places_in_a_loop():
    def function(p, x):
        return lax.fori_loop(0, 3, lambda i, c: (c[0] @ c[1], c[2], c[1]), (x, p["a"], p["b"]))[0]

    assert paths(function, {"a": W, "b": W}, X) == ["a", "b"]


def test_what_data_chooses_is_data():
    assert of_w(lambda w, x: x @ lax.cond(x[0, 0] > 0, lambda: w, lambda: 2 * w)) == []
    assert of_w(lambda w, x: x @ lax.cond(w[0, 0] > 0, lambda: w, lambda: 2 * w)) == ["w"]
    assert of_w(lambda w, x: x @ lax.while_loop(lambda v: v.sum() > x.sum(), lambda v: v / 2, w)) == []
    assert of_w(lambda w, x: x @ lax.while_loop(lambda v: v.sum() > 1, lambda v: v / 2, w)) == ["w"]


@pytest.mark.parametrize("key", [KEY, shape(2, dtype="uint32"), jax.random.key(0), jax.random.PRNGKey(0)])
def test_a_key_among_the_data_is_none(key):
    def noisy(w, x, key):
        key, other = jax.random.split(key)
        return x @ (w + jax.random.normal(key, w.shape)), jax.random.normal(other, x.shape) @ w

    assert of_w(noisy, X, key) == ["w"]
    assert of_w(lambda w, key: jax.random.normal(key, (4, 6)) @ w, key) == []


def test_inside_sharded_code():
    mesh = jax.make_mesh((1,), ("a",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec()
    assert of_w(jax.shard_map(lambda w, x: x @ w, mesh=mesh, in_specs=(spec, spec), out_specs=spec)) == ["w"]


def test_where_operands_cannot_be_told_apart_all_weights_count():
    def solve(w, x):
        return jax.scipy.sparse.linalg.cg(lambda v: w.T @ (w @ v), x[0])[0]

    assert of_w(solve) == ["w"]


def test_nothing_is_computed():
    huge = shape(10**6, 10**6)  # 4 TB
    assert of_w(lambda w, x: jnp.tanh(x @ w) @ w, shape(10**3, 10**6), w=huge) == ["w"]


def test_a_function_is_traced_anew():
    product = [True]

    def function(p, x):
        return x @ p if product else x

    assert len(weight_products(function, W, X)) == 1
    product.clear()
    assert weight_products(function, W, X) == []


class Block(nn.Module):
    """A transformer's block and its surroundings, with raw parameters among the layers."""

    @nn.compact
    def __call__(self, tokens):
        h = nn.Embed(11, 6, name="embed")(tokens)
        h = h + self.param("position", nn.initializers.normal(), (7, 6))
        h = h + nn.MultiHeadDotProductAttention(2, name="attention")(nn.LayerNorm(name="norm")(h))
        h = nn.gelu(nn.Dense(12, name="wide")(h))
        raw = nn.with_partitioning(nn.initializers.normal(), ("in", "out"))
        h = jnp.einsum("bli,io->blo", h, self.param("raw", raw, (12, 6)))
        return h * self.param("scale", nn.initializers.ones, (7, 6))


def test_linen_module():
    tokens = shape(2, 7, dtype="int32")
    parameters = jax.eval_shape(Block().init, KEY, tokens)["params"]
    found = weight_products(lambda p, t: Block().apply({"params": p}, t), parameters, tokens)
    assert sorted(found[:3]) == [
        WeightProduct(f"attention/{name}/kernel", (6, 2, 3), "dot_general") for name in ("key", "query", "value")
    ]
    assert [product.path for product in found[3:]] == ["attention/out/kernel", "wide/kernel", "raw"]


def test_linen_scan_over_layers_with_remat():
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, h, _):
            return h + nn.tanh(nn.Dense(6)(h)) @ self.param("mix", nn.initializers.normal(), (6, 6)), None

    stack = nn.scan(
        nn.remat(Layer), variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=nn.broadcast, length=5
    )()
    variables = jax.eval_shape(lambda key, x: stack.init(key, x, None), KEY, X)
    found = weight_products(lambda v, x: stack.apply(v, x, None), variables, X)
    assert found == [
        WeightProduct("params/Dense_0/kernel", (5, 6, 6), "dot_general"),
        WeightProduct("params/mix", (5, 6, 6), "dot_general"),
    ]


class Net(nnx.Module):
    def __init__(self, rngs):
        self.lift = nnx.Linear(6, 8, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.value = nnx.Param(jnp.ones((8, 8)))  # a name that nnx itself uses
        self.heads = nnx.List([nnx.Param(jnp.ones((8, 3))), nnx.Param(jnp.ones((8, 2)))])
        self.offset = nnx.Param(jnp.ones((4, 8)))

    def __call__(self, x):
        h = self.norm(self.drop(self.lift(x))) @ self.value + self.offset
        return [h @ head for head in self.heads]


def test_nnx_module():
    graph, state = nnx.split(Net(nnx.Rngs(0)))
    expected = ["lift/kernel", "value", "heads/0", "heads/1"]
    assert paths(lambda s, x: nnx.merge(graph, s)(x), state, X) == expected
    assert paths(lambda s, x: nnx.merge(graph, s)(x), jax.eval_shape(lambda: state), X) == expected
    graph, parameters, rest = nnx.split(Net(nnx.Rngs(0)), nnx.Param, ...)
    assert paths(lambda p, x: nnx.merge(graph, p, rest, copy=True)(x), parameters, X) == expected


def test_paths_are_names():
    tree = {"params": {"value": 1, "box": nn.Partitioned(2, ("a",))}, "list": [3]}
    found = [leaf_path(path) for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    assert found == ["list/0", "params/box", "params/value"]
