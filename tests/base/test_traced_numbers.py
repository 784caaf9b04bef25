"""Traced numbers out of range: NaN where a compiled program finds them, named where they are first seen as numbers.

What is out of range follows from the limits that a field states, as in ``test_every_description``.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from analogsim import ADC, Hardware, InputError, evaluate, preset, program
from analogsim.base.description import check_numbers
from analogsim.base.field_rules import rule_of
from analogsim.devices import CELLS, PCM, Crossbar, DigitalMemory, HermesPCM
from analogsim.linen import AnalogDense
from tests.base.test_every_description import fields, lowest_and_highest, numbers_outside
from tests.support.descriptions import every_description, example

KINDS = [kind for kind in every_description() if any(not rule_of(f).is_static for f in fields(kind, "number"))]
TINY = np.finfo(np.float32).tiny
N = 12  # numbers of a field, so that every field is traced in one shape

X = np.ones((2, 4), np.float32)
WEIGHTS = {"params": {"kernel": np.arange(12, dtype=np.float32).reshape(4, 3) / 12 - 0.3}}


def layer(hardware):
    return AnalogDense(3, hardware=hardware, use_bias=False)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_traced_number_is_itself_within_the_limits_and_nan_outside(kind):
    for f in fields(kind, "number"):
        rule = rule_of(f)
        if rule.is_static or isinstance(getattr(example(kind), f.name), np.ndarray):
            continue
        good = np.float32(list(lowest_and_highest(rule).values()))
        # XLA takes numbers below the smallest normal one for zero.
        good = np.where((good != 0) & (np.abs(good) < TINY), TINY, good)
        # In single precision, in which programs compute: the numbers next to the limits are those of float32.
        bad = np.float32([x for x in numbers_outside(rule) if np.float32(x) not in good])
        values = np.resize(np.concatenate([good, bad]), N)

        def held(number, f=f):
            # The middle of a range is one of a range of the converter's own.
            whole = example(kind, range=4.0) if f.name == "middle" else example(kind)
            usual = getattr(whole, f.name)
            several = rule_of(f).length
            made = whole.replace(**{f.name: (*usual[:-1], number) if several else number})
            return getattr(made, f.name)[-1] if several else getattr(made, f.name)

        found = np.asarray(jax.vmap(held)(values))
        joint = np.isnan(found) & np.isin(values, good)  # a rule of several fields may refuse a limit, too
        assert f.name == "g_max" or not joint.any(), (f.name, values[joint])
        np.testing.assert_array_equal(np.where(joint, values, found), np.where(np.isin(values, good), values, np.nan))


def test_what_is_no_number_is_refused_while_tracing():
    for wrong in (True, 1j):
        with pytest.raises(InputError, match=r"ADC.noise: a traced (bool|complex64): must be a number of at least 0"):
            jax.eval_shape(lambda noise: ADC(noise=noise), wrong)


@jax.jit
def made(changes):
    """Hardware with traced numbers, as a compiled program gives it back."""
    return preset("pcm", **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"adc.noise": -0.04}, r"layer .*: ADC.noise = nan: must be at least 0 and at most .*nan stands for a traced"),
        ({"adc.bits": 6.5}, r"ADC.bits = nan: must be an integer between 2 and 24 \(nan stands for"),
        ({"store.cell.g_min": 26e-6}, r"PCM.g_max = nan: must be greater than 0"),  # not below g_max
        ({"store.cell.g_max": 26e-6}, r"PCM.g_max = nan: must be greater than 0"),  # beyond the fit
        ({"store.cell.read_noise_fit": (0.01, -0.5, 0.2)}, r"PCM.read_noise_fit = nan: must be at least 0"),
    ],
)
def test_a_traced_number_out_of_range_is_named_with_its_field_and_layer(changes, words):
    model = layer(made(changes))
    for first in (
        lambda: program(model, WEIGHTS, jax.random.key(0), X),
        lambda: evaluate(model, WEIGHTS, X, np.zeros(2, int), times=["1 s"], chips=2, key=jax.random.key(0)),
    ):
        with pytest.raises(InputError, match=words):
            first()


def test_numbers_put_past_the_checks_are_refused_at_the_next_use():
    hardware = jax.tree.map(lambda leaf: -leaf, preset("pcm"))
    with pytest.raises(InputError, match=r"must be greater than 0|must be at least"):
        program(layer(hardware), WEIGHTS, jax.random.key(0), X)
    hardware = Hardware(store=DigitalMemory(bits=4), adc=ADC(noise=0.1))
    stack = jax.vmap(lambda noise: hardware.replace(**{"adc.noise": noise}))(jnp.float32([0.1, -0.1]))
    with pytest.raises(InputError, match=r"here: ADC.noise = nan: must be at least 0"):
        check_numbers(stack, "here: ")
    chip = program(layer(hardware), WEIGHTS, jax.random.key(0), X)
    spoilt = jax.tree.map(lambda leaf: leaf - 100 if jnp.ndim(leaf) == 0 else leaf, chip)
    with pytest.raises(InputError, match=r"layer .*: DigitalMemory.bits = -96: must be"):
        spoilt.at("1 day")


def test_limits_that_float32_does_not_hold_are_within_their_range():
    # float32 takes 88.2e-6 as 8.82000033e-05, which is no step over the limit.
    for cell in ("cmo", "milo"):
        hardware = jax.tree.map(jnp.asarray, Hardware(store=Crossbar(cell=CELLS[cell]())))
        check_numbers(hardware, "")


def test_rules_of_several_fields_hold_for_arrays():
    with pytest.raises(InputError, match=r"g_min = array\(\[.*\]\): must be less than g_max = 2.5e-05"):
        Crossbar(cell=PCM(g_min=np.array([1e-6, 25e-6])))
    with pytest.raises(InputError, match=r"HermesPCM.g_max = array\(\[.*\]\): must be at most fit_g_max"):
        HermesPCM(g_max=np.array([1e-6, 25e-6]))


def primitives(jaxpr):
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for inner in jaxprs_in_params(equation.params):
            yield from primitives(inner)


def test_checked_hardware_costs_a_program_nothing():
    """Numbers that enter as a finished description are not checked again, nor are others when one is replaced."""

    def run(hardware, x):
        return layer(hardware).apply(WEIGHTS, x, rngs={"analog": jax.random.key(0)})

    def count(f, *args):
        return list(primitives(jax.make_jaxpr(f)(*args).jaxpr)).count("is_finite")

    # One for the converter's noise, which the strength of training multiplies.
    assert count(run, preset("pcm"), X) == 1
    assert count(run, preset("pcm", **{"adc.noise": None}), X) == 0
    # One field replaced, one number checked; and the rule of the window where that of a cell is.
    assert count(lambda h, v: h.replace(**{"adc.noise": v}), preset("pcm"), 0.1) == 1
    assert count(lambda h: h.replace(**{"adc.noise": 0.1}), preset("pcm")) == 0
