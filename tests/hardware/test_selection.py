"""Which layer gets which hardware: by path, type, enclosing type, function; and what wrong rules are told."""

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from analogsim import InputError, convert, preset, summary
from tests.support.models import drawn

PCM, RERAM, INT8 = preset("pcm"), preset("reram"), preset("int8")
KEY = jax.random.key(0)
X = np.ones((2, 8, 6), np.float32)


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (3,), name="stem")(x)
        x = nn.MultiHeadDotProductAttention(num_heads=2, name="attention")(x, x)
        return nn.Dense(3, name="head")(nn.Dense(40, name="wide")(x))


class EncoderNnx(nnx.Module):
    def __init__(self, rngs):
        self.stem = nnx.Conv(6, 8, (3,), rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.wide, self.head = nnx.Linear(8, 40, rngs=rngs), nnx.Linear(40, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(self.wide(self.attention(self.stem(x))))


make_nnx = nnx.jit(EncoderNnx)
PROJECTIONS = {f"attention/{name}" for name in ("query", "key", "value", "out")}
ALL = {"stem", "wide", "head", *PROJECTIONS}


def chosen(front_end, rules, **how):
    """The hardware's name of every analog layer."""
    if front_end == "linen":
        model = Encoder()
        rows = summary(convert(model, rules, **how), drawn(model, X), X)
    else:
        rows = summary(convert(make_nnx(nnx.Rngs(0)), rules, **how), x=X)
    return {row.path: row.hardware.name for row in rows if row.hardware is not None}


def of_attention(front_end):
    return nn.MultiHeadDotProductAttention if front_end == "linen" else nnx.MultiHeadAttention


def dense(front_end):
    return nn.Dense if front_end == "linen" else nnx.Linear


@pytest.mark.parametrize("front_end", ["linen", "nnx"])
def test_selectors(front_end):
    conv = nn.Conv if front_end == "linen" else nnx.Conv
    assert chosen(front_end, PCM, where=of_attention(front_end)) == dict.fromkeys(PROJECTIONS, "pcm")
    assert set(chosen(front_end, PCM, where=(conv, dense(front_end)))) == ALL - PROJECTIONS
    assert set(chosen(front_end, PCM, where=lambda layer: 40 in layer.shape)) == {"wide", "head"}
    assert set(chosen(front_end, PCM, where=r"attention/(query|key)")) == {"attention/query", "attention/key"}
    assert set(chosen(front_end, PCM, where=lambda layer: np.bool_(layer.kind == "Conv"))) == {"stem"}


@pytest.mark.parametrize("front_end", ["linen", "nnx"])
def test_the_first_rule_that_matches_decides(front_end):
    rules = [("stem", None), (of_attention(front_end), INT8), (dense(front_end), RERAM), (".*", PCM)]
    with pytest.raises(InputError, match=r"rule '\.\*' decides about no layer; .*stem"):
        chosen(front_end, rules)
    found = chosen(front_end, rules[:-1])
    assert found == {**dict.fromkeys(PROJECTIONS, "int8"), "wide": "reram", "head": "reram"}


@pytest.mark.parametrize("front_end", ["linen", "nnx"])
def test_first_and_last_layer_digital_in_the_order_of_use(front_end):
    model = Encoder() if front_end == "linen" else make_nnx(nnx.Rngs(0))
    variables = drawn(model, X) if front_end == "linen" else None
    paths = summary(model, variables, X).paths
    assert set(paths) == ALL
    assert (paths[0], paths[-1]) == ("stem", "head")
    rules = [(paths[0], None), (paths[-1], None), (".*", PCM)]
    assert set(chosen(front_end, rules)) == ALL - {"stem", "head"}


@pytest.mark.parametrize(
    ("rules", "how", "message"),
    [
        ("pcm", {}, "must be a Hardware or a sequence of"),
        ([("(", PCM)], {}, r"rule '\(': not a regular expression"),
        ([("x", "pcm")], {}, "rule 'x': 'pcm' must be a Hardware such as"),
        (["pcm"], {}, "must be a pair"),
        ([(3, PCM)], {}, "rule 3: must select by a pattern on paths, a type of layer, a tuple of types or a function"),
        ([((nn.Dense, "x"), PCM)], {}, "must select by"),
        ([(".*", PCM)], {"where": "head"}, "goes with a single hardware"),
        (PCM, {"where": lambda layer: layer.path}, "gave 'stem' for layer stem: must give True or False"),
        (PCM, {"where": nn.Embed}, "rule Embed decides about no layer"),
    ],
)
def test_bad_rules(rules, how, message):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(convert(Encoder(), rules, **how).init, KEY, X)


class Own(nn.Dense):
    """A layer of a user's that ignores Flax's hook."""

    @nn.compact
    def __call__(self, inputs):
        return inputs @ self.param("kernel", self.kernel_init, (inputs.shape[-1], self.features))


class Twice(nn.Einsum):
    @nn.compact
    def __call__(self, inputs):
        return 2 * super().__call__(inputs)


class Raw(nn.Module):
    """Products outside of layers, beside parameters that are only added."""

    @nn.compact
    def __call__(self, x):
        x = x + self.param("position", nn.initializers.normal(), (8, 6))
        return nn.Dense(3)(x @ self.param("mixing", nn.initializers.normal(), (6, 6)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Own(3), r"\(Own\) cannot run on analog hardware: its class does not use Flax's hook dot_general_cls"),
        (Twice((6, 2), "...d,dh->...h"), r"\(Twice\) .*: its class overrides Einsum.__call__"),
        (nn.Einsum((6, 6), "bsd,dd->bs", use_bias=False), "a letter twice in one operand is no matrix product"),
        (nn.Dense(3, dot_general=jax.lax.dot_general), "its matmul hook dot_general is already set"),
        (Raw(), r"layer mixing \(parameter\) .*: the model multiplies with this parameter outside of any known layer"),
    ],
)
def test_what_cannot_be_converted_is_named_by_path_and_reason(model, message):
    variables = drawn(model, X)
    with pytest.raises(InputError, match=message) as error:
        jax.eval_shape(convert(model, PCM).apply, variables, X, rngs={"analog": KEY})
    assert "strict=False" in str(error.value)
    if isinstance(model, Own):  # who ignores a hook is found out only by running it
        return
    left = convert(model, PCM, strict=False)
    jax.eval_shape(left.apply, variables, X, rngs={"analog": KEY})
    assert len(summary(left, variables, X).digital) == 1


def test_arguments_by_name_and_missing_parameters():
    class Named(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = nn.Einsum((6, 2), None)(inputs=x, einsum_str="bsd,dh->bsh")
            return y + nn.Dense(2)(inputs=x)

    models, variables = (convert(Named(), preset("ideal")), Named()), drawn(Named(), X)
    np.testing.assert_allclose(*jax.jit(lambda v: [m.apply(v, X) for m in models])(variables), atol=1e-6)
    with pytest.raises(flax.errors.ScopeCollectionNotFound):
        convert(Named(), PCM).apply({}, X, rngs={"analog": KEY})


def test_a_parameter_that_rules_leave_out_passes():
    variables = drawn(Raw(), X)
    model = convert(Raw(), [("mixing", None), (".*", PCM)])
    jax.eval_shape(model.apply, variables, X, rngs={"analog": KEY})
    jax.eval_shape(convert(Raw(), PCM, where="Dense_0").apply, variables, X, rngs={"analog": KEY})
    rows = summary(model, variables, X)
    assert [(row.path, row.hardware is None) for row in rows] == [("Dense_0", False), ("mixing", True)]


class RawNnx(nnx.Module):
    def __init__(self, rngs):
        self.dense = nnx.Linear(6, 3, rngs=rngs)
        self.position = nnx.Param(jnp.asarray(np.ones((8, 6), np.float32)))
        self.mixing = nnx.Param(jnp.asarray(np.ones((6, 6), np.float32)))

    def __call__(self, x):
        return self.dense((x + self.position) @ self.mixing[...])


def test_nnx_products_outside_of_layers_are_found_from_an_input():
    model = RawNnx(nnx.Rngs(0))
    with pytest.warns(UserWarning, match="mixing, position: no known layer multiplies with these parameters"):
        convert(model, PCM)
    with pytest.raises(InputError, match=r"layer mixing \(parameter\) cannot run on analog hardware"):
        convert(model, PCM, x=X)
    analog = convert(model, [("mixing", None), (".*", PCM)], x=X)
    assert [row.path for row in summary(analog, x=X).digital] == ["mixing"]
    assert summary(analog).paths == ("dense",)
    convert(model, PCM, strict=False)


def test_nnx_layers_with_code_of_their_own():
    class Ignores(nnx.Linear):
        def __call__(self, x):
            return x @ self.kernel[...]

    class Uses(nnx.Linear):
        def __call__(self, x):
            return 2 * super().__call__(x)

    with pytest.warns(UserWarning, match="layers/0/kernel: no known layer multiplies"):
        convert(nnx.Sequential(Ignores(6, 3, rngs=nnx.Rngs(0))), PCM)
    with pytest.raises(InputError, match=r"layer layers/0/kernel \(parameter\) cannot run on analog hardware"):
        convert(nnx.Sequential(Ignores(6, 3, rngs=nnx.Rngs(0))), PCM, x=X)
    assert not summary(convert(Uses(6, 3, rngs=nnx.Rngs(0)), PCM, x=X), x=X).digital


def test_nnx_layers_that_cannot_be_converted():
    class Table(nnx.Embed):
        pass

    with pytest.raises(InputError, match="its class is a subclass of Embed"):
        convert(Table(4, 3, rngs=nnx.Rngs(0)), PCM)
    with pytest.raises(InputError, match="a letter twice"):
        convert(nnx.Einsum("bsd,dd->bs", (6, 6), rngs=nnx.Rngs(0)), PCM)
    with pytest.raises(InputError, match="hook is already set"):
        convert(nnx.Linear(2, 2, dot_general=lambda *a, **k: 0, rngs=nnx.Rngs(0)), PCM)
    managed = PCM.replace(bound_management="iterative")
    with pytest.raises(InputError, match="widens input ranges, and a lookup has none"):
        convert(nnx.Embed(4, 3, rngs=nnx.Rngs(0)), managed)
    with pytest.raises(InputError, match="decides about no layer"):
        convert(convert(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), PCM), PCM)
    with pytest.raises(InputError, match="leave x out"):
        convert(Encoder(), PCM, x=X)


class Tables(nn.Module):
    @nn.compact
    def __call__(self, ids):
        table = nn.Embed(1000, 6, name="table")
        x = nn.Conv(12, (3,), feature_group_count=3, name="grouped")(table(ids))
        return table.attend(nn.Dense(6, name="dense")(x))


def test_the_summary_counts_tiles_cells_and_lines():
    """By hand: a differential pair takes two cells a weight; tiles of 256 x 256."""
    ids = np.ones((2, 8), int)
    variables = drawn(Tables(), ids)
    rows = summary(convert(Tables(), RERAM), variables, ids)
    found = {row.path: row for row in rows}
    assert rows.paths == ("table", "grouped", "dense", "table/attend")
    table, grouped, attend = found["table"], found["grouped"], found["table/attend"]
    assert (table.tiles, table.matrix, table.cells, table.adc_inputs) == (4, (1000, 6), 12000, 24)
    assert table.utilisation == pytest.approx(6000 / (4 * 256 * 256))
    assert (attend.tiles, attend.matrix, attend.kind) == (4, (6, 1000), "Embed")
    # Three groups of 3 x 2 inputs and 4 outputs along the diagonal of one tile; the blocks off it hold zeros.
    assert (grouped.tiles, grouped.matrix, grouped.matrices, grouped.cells) == (1, (18, 12), 1, 2 * 18 * 12)
    assert grouped.utilisation == pytest.approx(72 / 256**2)
    apart = summary(convert(Tables(), RERAM.replace(groups="apart")), variables, ids)[1]
    assert (apart.tiles, apart.matrix, apart.matrices, apart.cells) == (3, (6, 4), 3, 2 * 72)
    text = str(rows)
    assert "4 of 4 matrix layers on analog hardware" in text
    assert "8 b" in text
    assert "1000 x 6" in text


def test_the_summary_of_stacks_and_swept_hardware():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.Dense(6)(x), None

    class Scanned(nn.Module):
        @nn.compact
        def __call__(self, x):
            split = {"params": True, "analog": True}
            axes = {"params": 0, "analog": 0, "ranges": 0}
            return nn.scan(Block, variable_axes=axes, split_rngs=split, length=5)()(x, None)[0]

    variables = drawn(Scanned(), X)
    swept = preset("pcm", **{"adc.bits": np.array([4, 8])})
    (row,) = summary(convert(Scanned(), swept), variables, X)
    assert (row.copies, row.tiles, row.weights) == (5, 5, 180)
    assert "swept" in str(summary(convert(Scanned(), swept), variables, X))
    with pytest.raises(InputError, match="from the shape of its input; pass x"):
        summary(Scanned(), variables)
    with pytest.raises(InputError, match="must be a flax"):
        summary(3)
