"""One draw for all Gaussians of a function, and functions that are compiled as parts of larger programs."""

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.compiled import compiled
from analogsim.base.draws import together
from analogsim.base.once import once
from analogsim.base.random import normal, split, stream


def several(key, weights):
    """Draws of two depths of streams, of a few keys at once, and inside of a compiled function."""
    noise = normal(stream(key, "weights"), weights.shape)
    deeper = normal(stream(stream(key, "chip"), "weights"), (7,))
    rows = jax.vmap(lambda k: normal(k, (5,)))(split(stream(key, "rows"), 3))
    inside = jax.jit(lambda k: normal(k, (2,)))(stream(key, "inside"))
    return {"sum": (weights * noise).sum(0), "deeper": deeper, "rows": rows, "inside": inside}


def _names(jaxpr):
    return [eqn.params.get("name") for eqn in jaxpr.eqns]


def test_every_source_gets_the_numbers_that_it_draws_alone(key):
    weights = jnp.linspace(-1, 1, 12).reshape(4, 3)
    apart, at_once = (jax.jit(f)(key, weights) for f in (several, together(several)))
    assert apart.keys() == at_once.keys()
    for name in apart:
        np.testing.assert_allclose(at_once[name], apart[name], rtol=2e-6, atol=1e-6, err_msg=name)


def test_there_is_one_draw(key):
    names = _names(jax.make_jaxpr(together(several))(key, jnp.ones((4, 3))).jaxpr)
    assert names.count("_joint_normal") == 1
    assert "standard_normal" not in names


def test_a_function_without_or_with_one_draw_stays_as_it_is(key):
    for function in (lambda k: jax.random.key_data(k) + 1, lambda k: normal(k, (3,))):
        np.testing.assert_array_equal(together(function)(key), function(key))
        assert "_joint_normal" not in _names(jax.make_jaxpr(together(function))(key).jaxpr)


def test_a_draw_whose_key_follows_from_another_draw(key):
    def chained(key):
        first = normal(stream(key, "first"), (3,))
        return first, normal(jax.random.fold_in(stream(key, "second"), (1000 * first[0]).astype(int)), (3,))

    np.testing.assert_allclose(together(chained)(key), chained(key), rtol=2e-6, atol=1e-6)


def test_derivatives_and_maps(key):
    weights = jnp.linspace(-1, 1, 12).reshape(4, 3)
    of = lambda f: jax.grad(lambda w, k: (f(k, w)["sum"] ** 2).sum())  # noqa: E731
    np.testing.assert_allclose(of(together(several))(weights, key), of(several)(weights, key), rtol=1e-5)
    keys = split(key, 4)
    mapped = jax.jit(jax.vmap(together(several), (0, None)))(keys, weights)
    np.testing.assert_allclose(mapped["deeper"][2], several(keys[2], weights)["deeper"], rtol=2e-6, atol=1e-6)


def test_fixed_numbers_are_constants_inside_of_a_program_and_inputs_outside():
    traced = []

    @compiled(static=("shift",))
    def scaled(x, factor, shift=0):
        traced.append(factor)
        return factor * x + shift

    x = jnp.arange(3.0)
    for factor in (2.0, 3.0):
        np.testing.assert_array_equal(scaled(x, factor), factor * x)
    assert len(traced) == 1
    assert isinstance(traced[0], jax.core.Tracer)

    layers = jax.jit(lambda x: scaled(scaled(scaled(x, 2.0), 2.0), 3.0, shift=1))
    np.testing.assert_array_equal(layers(x), 12 * x + 1)
    assert traced[1:] == [2.0, 3.0]  # the two equal layers are traced once
    np.testing.assert_array_equal(jax.jit(lambda x, f: scaled(x, f))(x, 4.0), 4 * x)
    assert len(traced) == 3  # a traced number is an input, as in the first program


def test_equal_numbers_of_different_types_are_different_constants():
    @compiled()
    def doubled(x, number):
        return jnp.full_like(x, number, dtype=type(number))

    x = jnp.ones(2)
    found = jax.jit(lambda x: [doubled(x, number) for number in (1, 1.0, True)])(x)
    assert [a.dtype for a in found] == [jnp.int32, jnp.float32, bool]


def test_a_compiled_function_inside_of_another_is_a_part_of_it():
    @compiled()
    def inner(x):
        return x + 1

    @compiled()
    def outer(x):
        return inner(x) * 2

    jaxpr = jax.make_jaxpr(outer)(1.0).jaxpr
    (eqn,) = jaxpr.eqns
    assert eqn.params["name"] == "outer"
    assert [e.primitive.name for e in eqn.params["jaxpr"].jaxpr.eqns] == ["add", "mul"]


def test_what_is_computed_once_is_one_call_for_all_uses():
    def uses(x):
        power = once(lambda x: jnp.exp(x) ** 3)(x)
        return jnp.sin(power), power[::-1] + 1, power.sum()

    x = jnp.linspace(0, 1, 64)
    np.testing.assert_allclose(jax.jit(uses)(x)[1], np.exp(np.asarray(x[::-1])) ** 3 + 1, rtol=1e-5)
    text = jax.jit(uses).lower(x).compile().as_text()
    if jax.default_backend() == "cpu":
        assert text.count(" exponential(") == 1
    assert jax.grad(lambda x: once(jnp.sin)(x).sum())(0.0) == 1.0
