"""Layers trained by their phases: against the matrix they stand for, gradients measured in place, learning, chips."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from analogsim import InputError, phase_layer
from analogsim.devices import MZIMesh, PhaseShifter
from analogsim.devices.photonic.light import photon_j
from analogsim.linen import MeshDense
from analogsim.nnx import MeshLinear

PERFECT = PhaseShifter(bits=None, crosstalk=None, offset_rad=0.0, drift_rad=0.0)
IDEAL = MZIMesh(shifter=PERFECT, splitter_rad=0.0, detector=None)
STREAMS = {"params": jax.random.key(0), "chip": jax.random.key(1)}


def inputs(n=12, width=8):
    return jax.random.normal(jax.random.key(2), (n, width))


def matrix_of(layer, variables, n_in):
    """The complex matrix ``[n_in, n_out]`` of a layer's mesh."""
    phases, fabric = variables["params"]["phases"], variables["fabric"]["mesh"]
    n_out = phase_layer.n_outputs(layer.features, layer.detection)
    state = layer.mesh.driven(fabric, phases, variables["params"]["gain"], jnp.zeros((n_in, n_out)))
    return np.asarray(layer.mesh.fields(state, 0.0)[0])


@pytest.mark.parametrize("topology", ["rectangular", "butterfly"])
def test_each_detection_is_what_it_says(topology):
    x = inputs()
    for detection in phase_layer.DETECTIONS:
        layer = MeshDense(4, mesh=IDEAL.replace(topology=topology), detection=detection, use_bias=False)
        variables = layer.init(STREAMS, x)
        gain = float(variables["params"]["gain"])
        fields = np.asarray(x) @ matrix_of(layer, variables, 8) / gain
        powers = np.abs(fields) ** 2
        expected = {
            "coherent": fields.real, "intensity": powers, "differential": powers[:, ::2] - powers[:, 1::2],
        }[detection]  # fmt: skip
        np.testing.assert_allclose(layer.apply(variables, x), gain * expected, rtol=2e-4, atol=2e-5)


def test_the_gradient_is_that_of_forward_and_backward_light():
    # dL/dphi of an output phase: -Im of the field behind it times the field that the loss sends back.
    x = inputs(1)
    layer = MeshDense(4, mesh=IDEAL, use_bias=False)
    variables = layer.init(STREAMS, x)
    target = jnp.arange(4.0)

    def loss(params):
        return jnp.sum((layer.apply({**variables, "params": params}, x) - target) ** 2)

    slope = jax.grad(loss)(variables["params"])["phases"][-1, :4]
    fields = np.asarray(x) @ matrix_of(layer, variables, 8)
    sent_back = 2 * (fields.real - np.asarray(target))
    np.testing.assert_allclose(slope, -(fields.imag * sent_back)[0], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_training_in_place_works_around_the_errors_of_its_own_mesh():
    mesh = MZIMesh(splitter_rad=0.08, detector=None)
    x = inputs(64)
    goal = x @ jax.random.normal(jax.random.key(3), (8, 4)) / 3
    layer = MeshDense(4, mesh=mesh, use_bias=False)
    variables = layer.init(STREAMS, x)
    optimiser = optax.adam(0.03)

    def loss(params, fabric):
        return jnp.mean((layer.apply({"params": params, "fabric": fabric}, x) - goal) ** 2)

    @jax.jit
    def step(params, state):
        value, slope = jax.value_and_grad(loss)(params, variables["fabric"])
        updates, state = optimiser.update(slope, state)
        return optax.apply_updates(params, updates), state, value

    params, state = variables["params"], optimiser.init(variables["params"])
    for _ in range(300):
        params, state, value = step(params, state)
    other = layer.init({"params": jax.random.key(0), "chip": jax.random.key(7)}, x)["fabric"]
    size = float(jnp.mean(goal**2))
    assert value < 0.02 * size
    assert loss(params, other) > 3 * value  # the phases are those of one chip


def test_photons_are_counted_where_there_are_few():
    # 1 photon an input at full scale, so that outputs see less than one on average: Poisson, with many zeros.
    rate = 5e9
    mesh = IDEAL.replace(shifter_loss_db=0.0, coupler_loss_db=0.0, rate_hz=rate)
    quiet = MZIMesh().detector.replace(**{
        "diode.dark_current_a": 0.0, "diode.relative_intensity_noise_db": -250.0, "diode.load_ohm": 1e9,
        "diode.temperature_k": 1e-6,
    })  # fmt: skip
    efficiency = float(quiet.efficiency())
    mesh = mesh.replace(detector=quiet, laser_w=8 * photon_j() * rate / efficiency)
    layer = MeshDense(8, mesh=mesh, detection="intensity", use_bias=False)
    x = jnp.ones((1, 8)) / 1.0
    variables = layer.init(STREAMS, x)
    expected = layer.apply(variables, x)[0] / variables["params"]["gain"]

    draws = jax.vmap(lambda k: layer.apply(variables, x, rngs={"analog": k})[0])(
        jax.random.split(jax.random.key(4), 8000)
    )
    counted = draws / variables["params"]["gain"]
    np.testing.assert_allclose(counted.mean(0), expected, atol=5 * np.sqrt(expected.max() / 8000))
    np.testing.assert_allclose(counted.var(0), expected, rtol=0.15, atol=0.02)
    np.testing.assert_allclose((counted < 0.5).mean(0), np.exp(-expected), atol=0.025)


def test_coherent_noise_is_the_detectors():
    layer = MeshDense(4, mesh=MZIMesh(shifter=PERFECT, splitter_rad=0.0), use_bias=False)
    x = jnp.ones((1, 8))
    variables = layer.init(STREAMS, x)
    keys = jax.random.split(jax.random.key(5), 4000)
    draws = jax.vmap(lambda k: layer.apply(variables, x, rngs={"analog": k})[0])(keys)
    mesh, gain = layer.mesh, float(variables["params"]["gain"])
    expected = np.hypot(
        gain * float(mesh.detector.sigma(mesh.laser_w / 8, mesh.rate_hz)),
        float(mesh.detector.relative_sigma(mesh.rate_hz)) * np.abs(layer.apply(variables, x)[0]),
    )
    np.testing.assert_allclose(draws.std(0), expected, rtol=0.05)


def test_random_phases_start_with_the_variance_of_the_usual_draws():
    for n_in, n_out in ((16, 16), (16, 8), (8, 16)):
        layer, x = MeshDense(n_out, mesh=IDEAL, use_bias=False), jnp.ones((1, n_in))
        draws = [matrix_of(layer, layer.init({"params": jax.random.key(i), "chip": jax.random.key(1)}, x), n_in).real
                 for i in range(4)]  # fmt: skip
        np.testing.assert_allclose(np.var(draws) * n_in, 1.0, atol=0.15)


def test_nnx_is_the_same_layer():
    layer = MeshLinear(8, 4, mesh=MZIMesh(), rngs=nnx.Rngs(0))
    x = inputs()
    first, second = layer(x), layer(x)
    assert not np.allclose(first, second)  # noise is fresh
    layer.noisy = False
    assert np.allclose(layer(x), layer(x))
    linen = MeshDense(4, mesh=MZIMesh())
    params = {"phases": layer.phases[...], "gain": layer.gain[...], "bias": layer.bias[...]}
    y = linen.apply({"params": params, "fabric": {"mesh": layer.fabric.get_value()}}, x)
    np.testing.assert_allclose(layer(x), y, rtol=1e-5)
    slopes = nnx.grad(lambda m: m(x).sum())(layer)
    assert float(jnp.abs(slopes["phases"][...]).sum()) > 0


def test_bad_input():
    x = inputs()
    with pytest.raises(InputError, match="MeshDense: mesh = 3: must be an MZIMesh"):
        MeshDense(4, mesh=3).init(STREAMS, x)
    with pytest.raises(InputError, match="detection = 'square': must be one of coherent, intensity, differential"):
        MeshDense(4, mesh=MZIMesh(), detection="square").init(STREAMS, x)
    with pytest.raises(InputError, match="features = 0: must be a whole number and at least 1"):
        MeshLinear(4, 0, mesh=MZIMesh(), rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="MeshDense: time"):
        MeshDense(4, mesh=MZIMesh(), time=-1.0).init(STREAMS, x)
    with pytest.raises(InputError, match="MeshLinear: time"):
        MeshLinear(4, 4, mesh=MZIMesh(), time="soon", rngs=nnx.Rngs(0))
    layer = MeshDense(4, mesh=MZIMesh())
    fabric = layer.init(STREAMS, x[:, :4])["fabric"]
    params = layer.init(STREAMS, x)["params"]
    with pytest.raises(InputError, match="x has 8 features for 4 outputs: the layer's mesh was fabricated for another"):
        layer.apply({"params": params, "fabric": fabric}, x)
