"""Sensitivities against closed forms, finite differences with the same random numbers, and by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import analogsim
import analogsim.nnx
from analogsim import ADC, DAC, Hardware, InputError, altered, calibrate, plot, preset, program
from analogsim.devices import Crossbar, GenericCell
from analogsim.devices.random import stream
from analogsim.evaluation import run_examples
from analogsim.linen import AnalogDense
from analogsim.training import cross_entropy, sensitivity
from tests.models import MLP

X = jax.random.normal(jax.random.key(0), (64, 8))
LABELS = jnp.arange(64) % 3
KEY = jax.random.key(2)


def squares(outputs, labels):
    return jnp.mean(outputs**2)


@pytest.fixture(scope="module")
def network():
    # So many bits that their staircase is finer than the differences.
    model = MLP(preset("pcm", **{"adc.bits": 24, "dac.bits": 24}))
    return model, calibrate(model, model.init(jax.random.key(1), X), X)


@pytest.fixture(scope="module")
def found(network):
    model, variables = network
    return sensitivity(model, variables, X, LABELS, key=KEY, chips=6, time="1 day", parameters=("*",))


def test_the_slope_for_converter_noise_is_the_closed_form():
    # y = x W + s sigma xi, s the column scale: E mean y^2 = const + sigma^2 mean s^2, so 10 % more of sigma is
    # 0.1 sigma 2 sigma mean s^2.
    sigma, kernel = 0.3, jnp.array([[2.0, -1.0], [0.5, 0.25]])
    layer = AnalogDense(2, hardware=Hardware(adc=ADC(bits=24, range=1e3, noise=sigma)), use_bias=False)
    variables = {"params": {"kernel": kernel}, "ranges": {"analog": {"input": 1.0, "output": 1e3}}}
    x = jax.random.uniform(jax.random.key(0), (500, 2), minval=-1.0)
    found = sensitivity(layer, variables, x, x, key=KEY, chips=24, loss=squares, parameters=("adc.noise",))
    expected = 0.1 * 2 * sigma**2 * (2.0**2 + 1.0**2) / 2
    ((name, change, mean, error),) = found.ranking
    assert (name, change) == ("adc.noise", "10 % more")
    assert abs(mean - expected) < 4.5 * error
    assert error < 0.1 * expected


def test_the_standard_error_is_that_of_the_mean(found):
    effects = found.data.effect.sel(parameter="store.cell.programming_noise").values
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

        with altered(change):
            return jax.lax.map(one, jnp.arange(6))

    ones = dict.fromkeys(NAMES, 1.0)
    return lambda name: (losses(ones | {name: 1.02}) - losses(ones | {name: 0.98})) / 0.04


@pytest.mark.parametrize("name", NAMES)
def test_slopes_are_those_of_finite_differences(found, differences, name):
    effects = found.data.effect.sel(parameter=name).values
    expected = 0.1 * np.asarray(differences(name))
    np.testing.assert_allclose(effects, expected, rtol=0.05, atol=0.02 * np.abs(effects).max() + 2e-6)


def test_slopes_of_layers_add_up(found):
    data = found.data
    name = "store.cell.drift"
    total = 0.1 * (data.slope * data.value).sel(parameter=name).sum("layer")
    np.testing.assert_allclose(total, data.effect.sel(parameter=name), rtol=1e-5)
    assert data.layer.values.tolist() == ["Dense_0", "Dense_1"]


@pytest.mark.slow
def test_bits_and_ranges_are_differences_on_the_same_chips(network):
    model, variables = network
    model, few = MLP(preset("pcm")), dict(key=KEY, chips=3, time="1 day")
    steps = sensitivity(model, variables, X, LABELS, parameters=("adc.bits", "ranges.output"), **few).data
    assert steps.method.values.tolist() == ["difference", "difference"]
    assert steps.change.values.tolist() == ["one bit more", "10 % more"]

    def losses(bits, factor):
        ranges = {
            layer: {"analog": held["analog"] | {"output": held["analog"]["output"] * factor}}
            for layer, held in variables["ranges"].items() if layer != "sample"
        }  # fmt: skip
        changed = model.clone(hardware=preset("pcm", **{"adc.bits": bits}))
        own = variables | {"ranges": ranges}
        return sensitivity(changed, own, X, LABELS, parameters=("adc.noise",), **few).data.loss.values

    expected = [(losses(9, 1.0) - losses(7, 1.0)) / 2, (losses(8, 1.1) - losses(8, 0.9)) / 2]
    np.testing.assert_allclose(steps.effect.T, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_a_chip_is_the_same_among_more(network, found):
    model, variables = network
    fewer = sensitivity(model, variables, X, LABELS, key=KEY, chips=2, time="1 day", parameters=("store.cell.drift",))
    np.testing.assert_allclose(fewer.data.loss, found.data.loss[:2], rtol=1e-5)
    np.testing.assert_allclose(
        fewer.data.effect.values[:, 0], found.data.effect.sel(parameter="store.cell.drift")[:2], rtol=1e-4
    )


def test_coefficients_of_fits_are_named_only_when_asked_for(network):
    model, variables = network
    usual = sensitivity(model, variables, X, LABELS, key=KEY, chips=1)
    assert "store.cell.drift" in usual.data.parameter
    assert not any("[" in str(name) or "prices" in str(name) for name in usual.data.parameter.values)
    assert all(np.isnan(error) for *_, error in usual.ranking)  # one chip has no spread


@pytest.mark.slow
def test_layers_on_different_hardware_and_nnx():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.hidden = analogsim.nnx.AnalogLinear(8, 6, hardware=preset("pcm"), rngs=rngs)
            cell = GenericCell(programming_sigma=0.05)
            self.out = analogsim.nnx.AnalogLinear(
                6, 3, hardware=Hardware(store=Crossbar(cell=cell), dac=DAC()), rngs=rngs
            )

        def __call__(self, x):
            return self.out(nnx.relu(self.hidden(x)))

    net = Net(nnx.Rngs(0))
    calibrate(net, None, X)
    found = sensitivity(net, None, X, LABELS, key=KEY, chips=3)
    slopes = found.data.slope
    assert np.isfinite(slopes.sel(layer="out", parameter="store.cell.programming_sigma")).all()
    assert np.isnan(slopes.sel(layer="hidden", parameter="store.cell.programming_sigma")).all()
    assert np.isfinite(found.data.effect).all()
    assert abs(float(found.data.effect.sel(parameter="ranges.output").mean())) > 0


def test_the_table_and_the_figure(found):
    text = str(found)
    assert "What changes a loss of" in text
    assert "6 chips, 1 day after programming" in text
    assert max(map(len, text.splitlines())) <= 100
    means = [abs(mean) for _, _, mean, _ in found.ranking]
    assert means == sorted(means, reverse=True)
    labels = [t.get_text() for t in plot.sensitivity(found, rows=4).get_yticklabels()]
    assert labels[-1] == f"{found.ranking[0][0]}, {found.ranking[0][1]}"
    with pytest.raises(InputError, match=r"must be what analogsim.training.sensitivity returns"):
        plot.sensitivity(3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chips": 0}, r"chips = 0: must be a whole number and at least 1"),
        ({"parameters": "adc.noise"}, r"parameters = 'adc.noise': must be names or patterns"),
        ({"parameters": ("adc.nose",)}, r"'adc.nose' is no number of the hardware; did you mean 'adc.noise'"),
        ({"parameters": ("adc.gain_error",)}, r"'adc.gain_error' is None in every layer"),
        ({"x": X.at[0, 0].set(jnp.nan)}, r"loss: is not a finite number on the sampled chips"),
        ({"compensation": "all"}, r"compensation = 'all': must be one of"),
        ({"model": MLP(None)}, r"the model has no analog layer"),
    ],
)
def test_bad_input(network, changes, message):
    model, variables = network
    settings = {"key": KEY, "chips": 1} | changes
    model, x = settings.pop("model", model), settings.pop("x", X)
    with pytest.raises(InputError, match=message):
        sensitivity(model, variables, x, LABELS, **settings)
