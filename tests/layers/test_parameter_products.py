"""Products with parameters that no layer holds, on chips: exact hardware against ``jnp.einsum``."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import analogsim
from analogsim import InputError, convert, preset, program, summary
from analogsim.linen import analog_einsum
from analogsim.models.bound import programmed_leaves
from analogsim.nnx import parameter_einsum
from tests.layers.test_every_layer import assert_close, image

KEY = jax.random.key(0)
EXACT = preset("ideal", rows=20, columns=6)

#: equation: (shape of the input, shape of the parameter)
EQUATIONS = {
    "...d,df->...f": ((2, 3, 7), (7, 5)),  # x @ w
    "bd,fd->bf": ((3, 7), (5, 7)),  # x @ w.T
    "bd,df": ((3, 7), (7, 5)),
    "bed,edf->bef": ((2, 3, 7), (3, 7, 5)),  # an expert for each input
    "bd,edf->bef": ((2, 7), (3, 7, 5)),  # all experts for all inputs
    "bef,edf->bd": ((2, 3, 5), (3, 7, 5)),  # gated outputs summed over experts
    "bhtd,hdk->bthk": ((2, 2, 3, 4), (2, 4, 3)),
    "ij,bjk->bik": ((4, 3), (2, 3, 5)),
    "bxyc,cxyf->bf": ((2, 3, 2, 4), (4, 3, 2, 5)),
    "ghbd,gdhk->bkgh": ((2, 3, 2, 4), (2, 4, 3, 5)),
    "abc,cb->a": ((3, 4, 5), (5, 4)),
    "bsd,df->bf": ((2, 3, 4), (4, 5)),  # the input alone is summed over
}


class Products(nn.Module):
    """All of them, each with a parameter of its own."""

    multiply: object

    @nn.compact
    def __call__(self, inputs):
        found = []
        for i, (equation, (_, shape)) in enumerate(EQUATIONS.items()):
            kernel = self.param(f"w{i}", nn.initializers.normal(), shape)
            found.append(self.multiply(equation, inputs[f"w{i}"], kernel).ravel())
        return jnp.concatenate(found)


INPUTS = {f"w{i}": image(*x) for i, (x, _) in enumerate(EQUATIONS.values())}


def test_equations_on_chips_are_those_of_einsum():
    plain, analog = Products(jnp.einsum), convert(Products(analog_einsum), EXACT.replace(groups="shared"))

    @jax.jit
    def everything(x):
        variables = plain.init(KEY, x)
        chip = program(analog, variables, KEY, analogsim.Shared(x))
        return plain.apply(variables, x), analog.apply(variables, x), analog.apply(chip.variables, x), chip.cells

    exact, trained, on_chip, cells = everything(INPUTS)
    assert_close(trained, exact)
    assert_close(on_chip, exact)
    assert [path for path, _ in programmed_leaves(cells)] == sorted(INPUTS)


class Mixture(nn.Module):
    """A mixture of experts, dense, as it is written by hand."""

    @nn.compact
    def __call__(self, x):
        gate = nn.softmax(nn.Dense(3, name="gate")(x))
        up = self.param("up", nn.initializers.normal(1.0), (3, 6, 8))
        down = self.param("down", nn.initializers.normal(1.0), (3, 8, 6))
        h = nn.gelu(analog_einsum("bd,edf->bef", x, up))
        return jnp.einsum("be,bed->bd", gate, analog_einsum("bef,efd->bed", h, 2 * down, name="down"))


class Outer(nn.Module):
    @nn.compact
    def __call__(self, x):
        return Mixture(name="mixture")(x)


def test_rules_calibration_and_summary_know_products_by_their_parameters():
    x = image(4, 6)
    v = jax.jit(Outer().init)(KEY, x)
    analog = convert(Outer(), [("mixture/down", None), (".*", preset("int8"))])
    rows = {row.path: row for row in summary(analog, v, x)}
    assert set(rows) == {"mixture/gate", "mixture/up", "mixture/down"}
    assert rows["mixture/down"].why_digital == "rule 'mixture/down'"
    assert (rows["mixture/up"].kind, rows["mixture/up"].matrix) == ("ParameterProduct", (6, 24))
    calibrated = analogsim.calibrate(analog, v, x, method="max")
    found = calibrated["ranges"]["mixture"]["up"]["analog"]["input"]
    np.testing.assert_allclose(found, np.abs(x).max(), rtol=1e-6)
    chip = program(analog, calibrated, KEY)
    y = jax.jit(lambda v: analog.apply(v, x, rngs={"analog": KEY}))(chip.variables)
    exact = Outer().apply(v, x)
    assert 0 < np.abs(y - exact).max() < 0.1 * np.abs(exact).max()  # eight bits
    with pytest.raises(InputError, match=r"rule 'mixture/dwn' decides about no layer; .*mixture/down"):
        jax.eval_shape(convert(Outer(), [("mixture/dwn", None), (".*", EXACT)]).apply, v, x)


class Wrong(nn.Module):
    how: object

    @nn.compact
    def __call__(self, x):
        return self.how(self.param("w", nn.initializers.normal(), (4, 4)), x)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (lambda w, x: analog_einsum("bd,df->bf", x, w.T), "not itself a parameter of this module; give it a name"),
        (lambda w, x: analog_einsum("bd,dd->b", x, w), "a letter twice in one operand"),
        (lambda w, x: analog_einsum("bd,df->b", x, w), "the kernel alone has 'f' and sums over it"),
        (lambda w, x: analog_einsum("bd->b", x, w), "must have two operands"),
        (
            lambda w, x: analog_einsum("bd,fd->bf", analog_einsum("bd,df->bf", x, w), w),
            "its array is laid out for 'bd,df->bf'; give the product a separate layer or name",
        ),
        (lambda w, x: x @ w, r"and not with analogsim\.linen\.analog_einsum"),
    ],
)
def test_wrong_use_is_told(how, message):
    x = image(3, 4)
    v = {"params": {"w": image(4, 4)}}
    with pytest.raises(InputError, match=message):
        jax.eval_shape(convert(Wrong(how), EXACT).apply, v, x)


def test_both_ways_through_one_parameter_are_two_arrays_by_name():
    """x w and then w^T, each an array of its own."""

    def both(w, x):
        return analog_einsum("bd,fd->bf", analog_einsum("bd,df->bf", x, w), w, name="back")

    x, v = image(3, 4), {"params": {"w": image(4, 4)}}
    analog = convert(Wrong(both), EXACT)

    @jax.jit
    def run(v):
        chip = program(analog, v, KEY, x)
        gradients = [jax.grad(lambda v, m=m: jnp.sin(m.apply(v, x)).sum())(v) for m in (analog, analog.model)]
        return chip.cells, analog.apply(chip.variables, x), gradients

    cells, y, gradients = run(v)
    assert [path for path, _ in programmed_leaves(cells)] == ["back", "w"]
    np.testing.assert_allclose(*(gradient["params"]["w"] for gradient in gradients), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(y, x @ v["params"]["w"] @ v["params"]["w"].T, rtol=1e-5, atol=1e-5)


class MixtureNnx(nnx.Module):
    def __init__(self, rngs):
        self.up = nnx.Param(jax.random.normal(rngs.params(), (3, 6, 8)))
        self.multiply = parameter_einsum("bd,edf->bef", self.up)

    def __call__(self, x):
        return self.multiply(x)


def test_nnx_parameters_are_multiplied_by_layers_that_share_them():
    x = image(4, 6)
    model = MixtureNnx(nnx.Rngs(0))
    assert model.multiply.kernel is model.up
    analog = convert(model, EXACT)  # no warning: the parameter is in a layer

    @nnx.jit
    def run(analog):
        chip = program(analog, key=KEY, x=x)
        return analog(x), analogsim.nnx.on_chip(analog, chip)(x)

    exact = jnp.einsum("bd,edf->bef", x, model.up[...])
    for y in run(analog):
        np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-5)
    assert len(jax.tree.leaves(nnx.state(analog, nnx.Param))) == 1
    with pytest.raises(InputError, match="is laid out for 'bd,edf->bef'; use a layer for each"):
        analog.multiply(image(4, 8), "bf,edf->bed")


class TiedHead(nn.Module):
    """A language model's tied head as Hugging Face writes it."""

    def setup(self):
        self.table = nn.Embed(11, 6)
        self.mix = nn.Dense(6)
        self.head = nn.Dense(11, use_bias=False)

    def __call__(self, ids):
        h = nn.tanh(self.mix(self.table(ids)))
        shared = self.table.variables["params"]["embedding"]
        return self.head.apply({"params": {"kernel": shared.T}}, h)


class Outside(nn.Module):
    @nn.compact
    def __call__(self, ids):
        return TiedHead(name="lm")(ids)


IDS = np.array([[1, 2, 10], [0, 2, 3]])


def test_a_tied_head_that_is_applied_by_itself():
    analog = convert(Outside(), EXACT)

    @jax.jit
    def run(ids):
        v = Outside().init(KEY, ids)
        drawn = analog.init(KEY, ids)
        chip = program(analog, v, KEY, ids)
        found = [
            (m.apply(v, ids), jax.grad(lambda v, m=m: jnp.sin(m.apply(v, ids)).sum())(v)) for m in (Outside(), analog)
        ]
        noisy = convert(Outside(), preset("pcm")).apply(v, ids, rngs={"analog": KEY})
        return v, drawn, chip.cells, *found, analog.apply(chip.variables, ids), noisy

    v, drawn, cells, exact, trained, on_chip, noisy = run(IDS)
    jax.tree.map(np.testing.assert_array_equal, v, drawn)
    assert [path for path, _ in programmed_leaves(cells)] == ["lm/head", "lm/mix", "lm/table"]
    assert_close(trained, exact)  # the table's gradient has both its uses
    assert_close(on_chip, exact[0])
    assert np.abs(noisy - exact[0]).max() > 1e-3
    rules = [("lm/head", None), (".*", preset("int8"))]
    why = {row.path: row.why_digital for row in summary(convert(Outside(), rules), v, IDS)}
    assert (why["lm/table"], why["lm/mix"], why["lm/head"]) == ("", "", "rule 'lm/head'")
    ranges = analogsim.calibrate(convert(Outside(), preset("int8")), v, IDS)["ranges"]["lm"]
    assert set(ranges) == {"table", "mix", "head"}


def test_a_layer_without_a_name_cannot_be_placed():
    class Inline(nn.Module):
        @nn.compact
        def __call__(self, x):
            w = self.param("w", nn.initializers.normal(), (6, 4))
            return nn.Dense(4, use_bias=False, parent=None).apply({"params": {"kernel": w}}, x)

    with pytest.raises(
        InputError, match=r"is applied with separate variables and has no name.*Dense\(\.\.\., name='head'\)"
    ):
        jax.eval_shape(convert(Inline(), EXACT).apply, {"params": {"w": image(6, 4)}}, image(2, 6))


class TiedNnx(nnx.Module):
    """Two layers on one parameter."""

    def __init__(self, rngs):
        self.table = nnx.Embed(11, 6, rngs=rngs)
        self.head = parameter_einsum("bd,nd->bn", self.table.embedding)

    def __call__(self, ids):
        return self.head(self.table(ids))


def test_nnx_layers_that_share_a_parameter_are_two_arrays_and_the_summary_says_so():
    model = TiedNnx(nnx.Rngs(0))
    analog = convert(model, [("table/attend", None), (".*", EXACT)])
    rows = {row.path: row for row in summary(analog, x=IDS[0])}
    assert (rows["table"].same_as, rows["head"].same_as) == ("", "table")
    assert "11 x 6, of table" in str(summary(analog, x=IDS[0]))
    chip = program(analog, key=KEY, x=IDS[0])
    assert sorted(chip.cells) == ["head", "table"]
    y = nnx.jit(lambda m, x: analogsim.nnx.on_chip(m, chip)(x))(analog, IDS[0])
    np.testing.assert_allclose(y, model(IDS[0]), rtol=1e-5, atol=1e-5)
    assert len(jax.tree.leaves(nnx.state(analog, nnx.Param))) == 1  # trained once, written twice
