"""Sensitivities against closed forms, finite differences with the same random numbers, and by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import analogsim
import analogsim.nnx
from analogsim import ADC, DAC, Hardware, InputError, calibrate, override_hardware, plot, preset, program
from analogsim.base import stream
from analogsim.base.tables import as_text
from analogsim.chips.outputs import run_examples
from analogsim.devices import Crossbar, Differential, Faults, GenericCell, MultiCell, WriteVerify
from analogsim.linen import AnalogDense
from analogsim.training import cross_entropy, sensitivity
from analogsim.training.hardware_numbers import numbers_of
from tests.support.models import MLP

X = jax.random.normal(jax.random.key(0), (64, 8))
LABELS = jnp.arange(64) % 3
KEY = jax.random.key(2)


#: Cells that are random in few operations, for what does not depend on the kind of cell.
SIMPLE = Hardware(
    store=Crossbar(cell=GenericCell(programming_sigma=0.05, drift_mean=0.05)), adc=ADC(bits=24, noise=0.05)
)
#: No flaws but those of converters.
CONVERTERS = Hardware(dac=DAC(), adc=ADC(bits=3, noise=0.05))
#: One layer whose only flaws are those of its converter.
ONE_CONVERTER = Hardware(adc=ADC(bits=5, range=2.0, noise=0.05))
LAYER = AnalogDense(3, hardware=ONE_CONVERTER)
PARAMS = {"kernel": np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32), "bias": np.zeros(3, np.float32)}
CALIBRATED = {"params": PARAMS, "ranges": {"analog": {"input": 3.0, "output": 2.0}}}


def squares(outputs, labels):
    return jnp.mean(outputs**2)


@pytest.fixture(scope="module")
def network():
    # So many bits that their staircase is finer than the differences.
    model = MLP(preset("pcm", **{"adc.bits": 24, "dac.bits": 24}))
    return model, calibrate(model, jax.jit(model.init)(jax.random.key(1), X), X)


@pytest.fixture(scope="module")
def found(network):
    model, variables = network
    return sensitivity(model, variables, X, LABELS, key=KEY, chips=6, time="1 day", parameters="all")


SIGMA, KERNEL = 0.3, np.array([[2.0, -1.0], [0.5, 0.25]], np.float32)


@functools.cache
def of_one_converter(bits):
    """The numbers of the ADC of one layer without any other flaw."""
    layer = AnalogDense(2, hardware=Hardware(adc=ADC(bits=bits, noise=SIGMA)), use_bias=False)
    variables = {"params": {"kernel": KERNEL}, "ranges": {"analog": {"input": 1.0, "output": 10.0}}}
    x = jax.random.uniform(jax.random.key(0), (500, 2), minval=-1.0)
    names = ("adc.bits", "adc.noise")
    return sensitivity(layer, variables, x, x, key=KEY, chips=24, loss=squares, parameters=names)


def test_the_gradient_for_converter_noise_is_the_closed_form():
    # y = x W + s sigma xi, s the column scale: E mean y^2 = const + sigma^2 mean s^2, so 10 % more of sigma is
    # 0.1 sigma 2 sigma mean s^2.
    expected = 0.1 * 2 * SIGMA**2 * (2.0**2 + 1.0**2) / 2
    _, change, mean, error = next(row for row in of_one_converter(24).ranking if row.parameter == "adc.noise")
    assert change == "10 % more"
    assert abs(mean - expected) < 4.5 * error
    assert error < 0.1 * expected


@pytest.mark.parametrize(
    ("bits", "steps"), [(2, ["one bit more"]), (8, ["one bit fewer", "one bit more"]), (24, ["one bit fewer"])]
)
def test_a_difference_is_ranked_up_and_down_within_its_range_and_a_gradient_once(bits, steps):
    ranking = of_one_converter(bits).ranking
    assert sorted(row.change for row in ranking if row.parameter == "adc.bits") == steps
    if bits > 2:  # of so few codes none may be reached, and the noise has no gradient
        assert [row.change for row in ranking if row.parameter == "adc.noise"] == ["10 % more"]


def test_the_standard_error_is_that_of_the_mean(found):
    effects = found.data.effect.sel(step="more", parameter="store.cell.programming_noise").values
    _, _, mean, error = next(row for row in found.ranking if row[0] == "store.cell.programming_noise")
    assert mean == pytest.approx(effects.mean())
    assert error == pytest.approx(effects.std(ddof=1) / np.sqrt(6))


NAMES = (
    "store.cell.programming_noise", "store.cell.drift", "store.cell.read_noise", "adc.noise",
    "store.cell.drift_mean[0]",
)  # fmt: skip


@pytest.fixture(scope="module")
def differences(network):
    """Losses ``[chip]`` of the same chips with each of the names scaled, through the public functions."""
    model, variables = network

    @jax.jit
    def losses(shares):
        def change(path, hardware):
            scaled = {n: functools.reduce(getattr, n.split("."), hardware) * shares[n] for n in NAMES[:-1]}
            return hardware.replace(**scaled, **{"store.cell.drift_mean": (0.0244 * shares[NAMES[-1]], -0.0155)})

        def one(index):
            chip = program(model, variables, jax.random.fold_in(stream(KEY, "chips"), index), X).at(86400.0)
            noise = jax.random.fold_in(stream(KEY, "reads"), index)
            run = lambda x, k: model.apply(chip.variables, x, rngs={"analog": k})  # noqa: E731
            return cross_entropy(run_examples(run, X, noise, 512), LABELS)

        with override_hardware(change):
            return jax.lax.map(one, jnp.arange(6))

    ones = dict.fromkeys(NAMES, 1.0)

    def difference(name):
        # The mean exponent is clipped: a cell that a step carries over the end of its range has half a gradient in it.
        step = 0.005 if name.endswith("]") else 0.02
        return (losses(ones | {name: 1 + step}) - losses(ones | {name: 1 - step})) / (2 * step)

    return difference


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(found, differences, name):
    effects = found.data.effect.sel(step="more", parameter=name).values
    expected = 0.1 * np.asarray(differences(name))
    np.testing.assert_allclose(effects, expected, rtol=0.05, atol=0.02 * np.abs(effects).max() + 2e-6)


def test_gradients_of_layers_add_up(found):
    data = found.data
    name = "store.cell.drift"
    total = 0.1 * (data.gradient * data.value).sel(parameter=name).sum("layer")
    np.testing.assert_allclose(total, data.effect.sel(step="more", parameter=name), rtol=1e-5)
    np.testing.assert_allclose(data.effect.sel(step="less", parameter=name), -total, rtol=1e-5)
    layers = {row.layer: row for row in found.gradients if row.parameter == name}
    assert sum(row.effect for row in layers.values()) == pytest.approx(float(total.mean()), rel=1e-5)
    one = data.gradient.sel(layer="Dense_1", parameter=name).values
    assert layers["Dense_1"].mean == pytest.approx(one.mean())
    assert layers["Dense_1"].error == pytest.approx(one.std(ddof=1) / np.sqrt(6))
    assert data.layer.values.tolist() == ["Dense_0", "Dense_1"]


@functools.partial(jax.jit, static_argnames="model")  # the hardware's numbers are traced
def losses_of(model, hardware, variables, indices):
    """Losses ``[chip]`` of the same chips through the public functions alone."""

    def one(index):
        chip = program(model, variables, jax.random.fold_in(stream(KEY, "chips"), index), X).at(86400.0)
        noise = jax.random.fold_in(stream(KEY, "reads"), index)
        run = lambda x, k: model.apply(chip.variables, x, rngs={"analog": k})  # noqa: E731
        return cross_entropy(run_examples(run, X, noise, 512), LABELS)

    with override_hardware(lambda path, _: hardware):
        return jax.lax.map(one, indices)


def changes_of(model, hardware, others, variables, chips):
    """Changes of the loss ``[chip, other]``."""
    indices = np.arange(chips)
    base, *found = (np.asarray(losses_of(model, h, variables, indices)) for h in (hardware, *others))
    return np.stack(found, axis=-1) - base[:, None]


def with_ranges(variables, kind, factor):
    """The variables with one kind of range multiplied, by hand: they lie at ranges/<layer>/analog/<kind>."""
    ranges = {
        layer: {"analog": held["analog"] | {kind: held["analog"][kind] * factor}}
        for layer, held in variables["ranges"].items() if layer != "sample"
    }  # fmt: skip
    return variables | {"ranges": ranges}


def test_bits_and_ranges_are_differences_up_and_down():
    model, hardware, indices = MLP(CONVERTERS), CONVERTERS, np.arange(3)
    variables = calibrate(model, jax.jit(model.init)(jax.random.key(1), X), X)
    names = ("adc.bits", "ranges.output")
    data = sensitivity(model, variables, X, LABELS, key=KEY, chips=3, parameters=names).data
    assert data.method.values.tolist() == ["difference", "difference"]
    assert data.change.values.tolist() == [["one bit more", "10 % more"], ["one bit fewer", "10 % less"]]
    assert np.isnan(data.gradient).all()
    bits = changes_of(model, hardware, [hardware.replace(**{"adc.bits": b}) for b in (4, 2)], variables, 3)
    np.testing.assert_allclose(data.effect.sel(parameter="adc.bits"), bits, rtol=1e-3, atol=1e-6)
    base = np.asarray(losses_of(model, hardware, variables, indices))
    ranges = [losses_of(model, hardware, with_ranges(variables, "output", f), indices) - base for f in (1.1, 0.9)]
    np.testing.assert_allclose(data.effect.sel(parameter="ranges.output").T, ranges, rtol=1e-3, atol=1e-6)
    ups, downs = np.abs(bits).mean(axis=0)
    # The squared step falls to a quarter or grows to four times, by 3/4 or by 3 of it: half of a difference of both
    # would have hidden that.
    assert downs > 1.5 * ups


def test_the_range_of_the_converter_counts_where_nothing_is_calibrated():
    variables = {"params": PARAMS}
    data = sensitivity(LAYER, variables, X, LABELS, key=KEY, chips=3, parameters=("adc.range",)).data
    others = [ONE_CONVERTER.replace(**{"adc.range": r}) for r in (2.2, 1.8)]
    expected = changes_of(LAYER, ONE_CONVERTER, others, variables, 3)
    np.testing.assert_allclose(data.effect.sel(parameter="adc.range"), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_stuck_cells_have_no_gradient_and_are_counted_by_difference():
    hardware = SIMPLE.replace(**{"store.faults": Faults(stuck_on=0.25)})
    layer = AnalogDense(3, hardware=hardware)
    found = sensitivity(layer, CALIBRATED, X, LABELS, key=KEY, chips=8, parameters=("store.faults.*",))
    data = found.data.sel(parameter="store.faults.stuck_on")
    assert data.method == "difference"
    others = [hardware.replace(**{"store.faults.stuck_on": share}) for share in (0.275, 0.225)]
    expected = changes_of(layer, hardware, others, CALIBRATED, 8)
    np.testing.assert_allclose(data.effect, expected, rtol=1e-3, atol=1e-6)
    assert np.any(data.effect != 0)
    # 10 % more of a share of zero is nothing, and its gradient is not known: said, not shown as no effect.
    zeros = [f"store.faults.{name}" for name in ("stuck_off", "stuck_at", "stuck_at_conductance")]
    assert found.data.attrs["unknown"].split(", ") == zeros
    assert "no gradient" in str(found)
    assert set(found.data.attrs["absent"].split(", ")) == {
        "store.faults.off_conductance",
        "store.faults.device_variation",
    }
    assert "absent (None)" in str(found)


@pytest.mark.slow
def test_rules_of_closed_loop_writing_are_counted_by_difference():
    rule = WriteVerify(window=3e-6, pulse_noise_floor=1e-6)
    layer = AnalogDense(16, hardware=Hardware(store=Crossbar(cell=GenericCell(), write_verify=rule)))
    names = ("store.write_verify.window", "store.write_verify.max_pulses")
    variables = nn.Dense(16).init(jax.random.key(1), X)
    data = sensitivity(layer, variables, X, LABELS, key=KEY, chips=2, parameters=names).data
    assert data.method.values.tolist() == ["difference"] * 2
    assert data.change.values.tolist() == [["10 % more", "one more"], ["10 % less", "one fewer"]]
    assert np.all(data.effect.sel(parameter="store.write_verify.window", step="less") != 0)


SMOOTH = ("store.cell.drift_mean", "store.cell.programming_sigma", "adc.noise")


def of_simple_cells(chips, method="gradient"):
    layer = AnalogDense(3, hardware=SIMPLE)
    return sensitivity(layer, CALIBRATED, X, LABELS, key=KEY, chips=chips, parameters=SMOOTH, method=method).data


@pytest.fixture(scope="module")
def smooth():
    return of_simple_cells(6)


@pytest.mark.slow
def test_differences_of_everything_are_close_to_the_gradients(smooth):
    data = of_simple_cells(6, method="difference")
    assert data.method.values.tolist() == ["difference"] * 3
    up, down = (data.effect.sel(step=step, parameter=list(SMOOTH)) for step in ("more", "less"))
    slopes = smooth.effect.sel(step="more", parameter=list(SMOOTH))
    # Half of what is odd in the change is the gradient to third order: 10 % is a small step for these.
    np.testing.assert_allclose((up - down) / 2, slopes, rtol=0.05, atol=0.03 * float(np.abs(slopes).max()))


@pytest.mark.parametrize("added", ["analog", "digital"])
def test_the_significance_of_ideal_copies_changes_nothing(added):
    # All copies hold w, and sum_p f_p w / sum f = w whatever f is.
    mapping = Differential(slices=MultiCell(significance=(3.0, 1.0), sum=added))
    layer = AnalogDense(3, hardware=Hardware(store=Crossbar(cell=GenericCell(), mapping=mapping)))
    names = ("store.mapping.slices.significance*", "store.cell.g_max")
    found = sensitivity(
        layer, layer.init(jax.random.key(1), X), X, LABELS, key=KEY, chips=1, loss=squares, parameters=names
    )
    assert found.data.loss > 0.1
    np.testing.assert_allclose(found.data.effect, 0, atol=1e-5)
    assert all(np.isnan(row.error) for row in found.ranking)  # one chip has no spread


class Named(nn.Module):
    """Two layers with names of the user's choice."""

    names: tuple[str, str]

    @nn.compact
    def __call__(self, x):
        first, second = (AnalogDense(n, hardware=IDEAL, name=name) for n, name in zip((6, 3), self.names, strict=True))
        return second(nn.relu(first(x)))


class NamedNnx(nnx.Module):
    def __init__(self, names, rngs):
        self.names = names
        for sizes, name in zip(((8, 6), (6, 3)), names, strict=True):
            setattr(self, name, analogsim.nnx.AnalogLinear(*sizes, hardware=IDEAL, rngs=rngs))

    def __call__(self, x):
        return getattr(self, self.names[1])(nnx.relu(getattr(self, self.names[0])(x)))


IDEAL = Hardware(dac=DAC(bits=4), adc=ADC(bits=4))  # nothing is drawn, so that names change no random number


@pytest.mark.slow
def test_layers_may_be_called_input_and_output():
    def effects(names):
        model = Named(names)
        plain = Named(("a", "b")).init(jax.random.key(1), X)["params"]
        variables = {"params": dict(zip(names, (plain["a"], plain["b"]), strict=True))}
        variables = calibrate(model, variables, X)
        return sensitivity(model, variables, X, LABELS, key=KEY, chips=1, parameters=("ranges.*",)).data.effect

    def effects_nnx(names):
        model = NamedNnx(names, nnx.Rngs(0))
        calibrate(model, None, X)
        return sensitivity(model, None, X, LABELS, key=KEY, chips=1, parameters=("ranges.*",)).data.effect

    for of in (effects, effects_nnx):
        usual = of(("a", "b"))
        assert np.all(usual != 0)
        np.testing.assert_allclose(of(("input", "output")), usual, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_a_chip_is_the_same_among_more(smooth):
    fewer = of_simple_cells(2)
    np.testing.assert_allclose(fewer.loss, smooth.loss[:2], rtol=1e-5)
    np.testing.assert_allclose(fewer.effect, smooth.effect[:2], rtol=1e-4)


@pytest.mark.slow
def test_layers_on_different_hardware_and_nnx():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.hidden = analogsim.nnx.AnalogLinear(8, 6, hardware=preset("reram"), rngs=rngs)
            cell = GenericCell(programming_sigma=0.05)
            self.out = analogsim.nnx.AnalogLinear(
                6, 3, hardware=Hardware(store=Crossbar(cell=cell), dac=DAC()), rngs=rngs
            )

        def __call__(self, x):
            return self.out(nnx.relu(self.hidden(x)))

    net = Net(nnx.Rngs(0))
    calibrate(net, None, X)
    found = sensitivity(net, None, X, LABELS, key=KEY, chips=3)
    slopes = found.data.gradient
    assert np.isfinite(slopes.sel(layer="out", parameter="store.cell.programming_sigma")).all()
    assert np.isnan(slopes.sel(layer="hidden", parameter="store.cell.programming_sigma")).all()
    assert np.isfinite(found.data.effect).all()
    assert np.any(found.data.effect.sel(parameter="ranges.output") != 0)
    # Single coefficients of fits are left out where they are not asked for.
    assert "store.cell.sigma_1day[0]" in numbers_of(preset("reram"))
    assert "store.cell.programming_noise" in found.data.parameter
    assert not any("[" in str(name) or "energy_table" in str(name) for name in found.data.parameter.values)


def test_the_table_and_the_figure(found):
    text = str(found)
    assert "Changes of a loss of" in text
    assert "6 chips, 1 day old" in text
    assert "25 µS" in as_text(found.table(rows=99))
    assert max(map(len, text.splitlines())) <= 100
    means = [abs(mean) for _, _, mean, _ in found.ranking]
    assert means == sorted(means, reverse=True)
    labels = [t.get_text() for t in plot.sensitivity(found, rows=4).get_yticklabels()]
    assert labels[-1] == f"{found.ranking[0][0]}, {found.ranking[0][1]}"
    with pytest.raises(InputError, match=r"must be the result of analogsim.training.sensitivity"):
        plot.sensitivity(3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chips": 0}, r"chips = 0: must be an integer of at least 1"),
        ({"parameters": "adc.noise"}, r"parameters = 'adc.noise': must be names or patterns"),
        ({"parameters": ("adc.nose",)}, r"'adc.nose' is not a number of the hardware; did you mean 'adc.noise'"),
        ({"parameters": ("adc.gain_error",)}, r"'adc.gain_error' is None in every layer"),
        ({"parameters": ("adc.range",)}, r"'adc.range': is replaced by calibrated ranges .* 'ranges.output'"),
        ({"x": np.where(np.eye(64, 8) > 0, np.nan, X)}, r"x: nan at \[0, 0\]: must be finite"),
        ({"loss": lambda y, labels: jnp.log(-jnp.mean(y**2))}, r"loss: is not finite on 1 of the 1 sampled"),
        ({"loss": lambda y, labels: y[:, 0]}, r"loss: returns shape \(64,\): must be one number"),
        ({"method": "slopes"}, r"method = 'slopes': must be 'gradient' or 'difference'"),
        ({"batch_size": 0}, r"batch_size = 0: must be an integer of at least 1"),
        ({"compensation": "all"}, r"compensation = 'all': must be one of"),
        ({"model": AnalogDense(3, hardware=None)}, r"the model has no analog layer"),
    ],
)
def test_bad_input(changes, message):
    settings = {"key": KEY, "chips": 1, "parameters": ("adc.noise",)} | changes
    model, x = settings.pop("model", LAYER), settings.pop("x", X)
    with pytest.raises(InputError, match=message):
        sensitivity(model, CALIBRATED, x, LABELS, **settings)
