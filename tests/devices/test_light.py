"""Light in a model by the same calls as any other store: programs, ages, trains, is measured; and its figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import analogsim
from analogsim import InputError, evaluate, plot, preset, program
from analogsim.devices import MZIMesh, PhaseShifter
from analogsim.linen import AnalogDense

NAMES = ("mzi-mesh", "ring-bank", "photonic-pcm", "fading-light")
LATE = {"fading-light": "1 ms"}


def small(name):
    rows = {"store.rows": 8} if name == "fading-light" else {}
    return preset(name, rows=8, columns=8, **rows)


def inputs(n, width, seed=0):
    return np.random.default_rng(seed).uniform(size=(n, width)).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_on_light_programs_ages_and_trains(name):
    layer, x = AnalogDense(8, hardware=small(name)), inputs(32, 16)
    variables = jax.jit(layer.init)(jax.random.key(1), x)
    chip = program(layer, variables, jax.random.key(2), x)
    noise = {"analog": jax.random.key(3)}
    run = jax.jit(lambda variables: layer.apply(variables, x, rngs=noise))
    kernel = np.asarray(variables["params"]["kernel"])
    exact = x @ kernel
    assert np.std(np.asarray(run(chip.variables)) - exact) < 0.2 * np.std(exact)
    assert np.isfinite(run(chip.at(LATE.get(name, "1 day")).variables)).all()

    def loss(params):
        return jnp.mean(layer.apply({"params": params}, x, rngs=noise) ** 2)

    gradient = np.asarray(jax.jit(jax.grad(loss))(variables["params"])["kernel"])
    wanted = 2 / exact.size * x.T @ exact
    cosine = np.sum(gradient * wanted) / np.linalg.norm(gradient) / np.linalg.norm(wanted)
    assert cosine > 0.95


def test_chips_of_light_are_measured_over_time():
    layer, x = AnalogDense(8, hardware=small("mzi-mesh")), inputs(32, 8)
    variables = jax.jit(layer.init)(jax.random.key(1), x)
    labels = np.argmax(x @ np.asarray(variables["params"]["kernel"]), -1)
    data = evaluate(layer, variables, x, labels, key=jax.random.key(2), chips=4, times=("0 s", "1 month"))
    now, later = data["score"].mean("chip").squeeze()
    assert 0.8 < now <= 1
    assert later < now  # phases drift


def test_ideal_light_is_the_digital_layer():
    perfect = {
        "store.splitter_rad": 0.0, "store.shifter.offset_rad": 0.0, "store.shifter.drift_rad": 0.0,
        "store.shifter.bits": None, "store.shifter.crosstalk": None, "store.detector": None, "dac": None, "adc": None,
    }  # fmt: skip
    layer = AnalogDense(6, hardware=preset("mzi-mesh", rows=8, columns=8, **perfect))
    x = inputs(5, 16) - 0.5

    @jax.jit
    def run(x):
        variables = layer.init(jax.random.key(1), x)
        outputs = layer.apply(variables, x, rngs={"analog": jax.random.key(2)})
        with analogsim.digital():
            return outputs, layer.apply(variables, x)

    outputs, exact = run(x)
    np.testing.assert_allclose(outputs, exact, atol=3e-5)
    assert np.std(exact) > 0.1


@pytest.mark.parametrize(("n_in", "n_out", "topology"), [(5, 3, "rectangular"), (5, 2, "triangular")])
def test_a_mesh_is_drawn_cell_by_cell(n_in, n_out, topology):
    store = MZIMesh(topology=topology, shifter=PhaseShifter(crosstalk=None))

    @jax.jit
    def tile(key):
        fabric, phases = store.fabricate(key, n_in, n_out), store.random_phases(key, n_in, n_out)
        return store.driven(fabric, *phases, jnp.zeros((n_in, n_out)))

    ax = plot.mesh(store, tile(jax.random.key(0)))
    marks = sum(len(found.get_offsets()) for found in ax.collections)
    assert marks == store.n_cells(n_in, n_out)
    words = {text.get_text() for text in ax.texts}
    assert {"in 1", f"in {n_in}", "out 1", f"out {n_out}", "U", "V†"} <= words


def test_holding_is_drawn_with_its_numbers():
    ax = plot.hold_power()
    words = " ".join(text.get_text() for text in ax.texts)
    assert "49.5 mW; stays 10 µs" in words
    assert "173 nW" in words
    assert "none; stays 1.16 days or more" in words


def test_figures_refuse_what_is_no_mesh():
    with pytest.raises(InputError, match="ax = 3: must be matplotlib axes"):
        plot.hold_power(ax=3)
    with pytest.raises(InputError, match="must be an MZIMesh"):
        plot.mesh(preset("pcm").store, None)
