"""Layers trained by their phases: against the matrix they stand for, gradients measured in place, learning, chips."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from analogsim import InputError
from analogsim.devices import Homodyne, MZIMesh, PhaseShifter
from analogsim.devices.photonic.light import photon_j
from analogsim.layers import mesh_layer
from analogsim.linen import MeshDense
from analogsim.nnx import MeshLinear

PERFECT = PhaseShifter(bits=None, crosstalk=None, offset_rad=0.0, drift_rad=0.0)
IDEAL = MZIMesh(shifter=PERFECT, splitter_rad=0.0, detector=None)
STREAMS = {"params": jax.random.key(0), "chip": jax.random.key(1)}


def inputs(n=12, width=8):
    return np.asarray(jax.random.normal(jax.random.key(2), (n, width)))


@functools.partial(jax.jit, static_argnames=("n_in", "n_out"))
def initial(mesh, streams=STREAMS, n_in=8, n_out=4):
    """What ``init`` gives; a layer that counts differences of two waveguides has half as many features."""
    return MeshDense(n_out, mesh=mesh, use_bias=False).init(streams, jnp.ones((1, n_in)))


@functools.partial(jax.jit, static_argnames=("n_in", "n_out"))
def matrix_of(mesh, variables, n_in=8, n_out=4):
    """The complex matrix ``[n_in, n_out]`` of a layer's mesh."""
    phases, gain = variables["params"]["phases"], variables["params"]["gain"]
    state = mesh.driven(variables["fabric"]["mesh"], phases, gain, jnp.zeros((n_in, n_out)))
    return mesh.fields(state, 0.0)[0]


@pytest.mark.parametrize("topology", ["rectangular", "butterfly"])
def test_each_detection_is_what_it_says(topology):
    x, mesh = inputs(), IDEAL.replace(topology=topology)
    variables = initial(mesh)
    gain = float(variables["params"]["gain"])
    fields = x @ np.asarray(matrix_of(mesh, variables)) / gain
    powers = np.abs(fields) ** 2
    expected = {"coherent": fields.real, "intensity": powers, "differential": powers[:, ::2] - powers[:, 1::2]}
    assert set(expected) == set(mesh_layer.DETECTIONS)
    layers = {
        detection: MeshDense(value.shape[1], mesh=mesh, detection=detection, use_bias=False)
        for detection, value in expected.items()
    }
    seen = jax.jit(lambda variables: {name: layer.apply(variables, x) for name, layer in layers.items()})(variables)
    for detection, value in expected.items():
        np.testing.assert_allclose(seen[detection], gain * value, rtol=2e-4, atol=2e-5, err_msg=detection)


def test_the_gradient_is_that_of_forward_and_backward_light():
    # dL/dphi of an output phase: -Im of the field behind it times the field that the loss sends back.
    x = inputs(1)
    layer, variables = MeshDense(4, mesh=IDEAL, use_bias=False), initial(IDEAL)
    target = np.arange(4.0)

    def loss(params):
        return jnp.sum((layer.apply({**variables, "params": params}, x) - target) ** 2)

    gradient = jax.jit(jax.grad(loss))(variables["params"])["phases"][-1, :4]
    fields = x @ np.asarray(matrix_of(IDEAL, variables))
    sent_back = 2 * (fields.real - target)
    np.testing.assert_allclose(gradient, -(fields.imag * sent_back)[0], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_training_in_place_works_around_the_errors_of_its_own_mesh():
    mesh = MZIMesh(splitter_rad=0.08, detector=None)
    x = inputs(64)
    goal = x @ np.asarray(jax.random.normal(jax.random.key(3), (8, 4))) / 3
    layer, variables = MeshDense(4, mesh=mesh, use_bias=False), initial(mesh)
    optimiser = optax.adam(0.03)

    def loss(params, fabric):
        return jnp.mean((layer.apply({"params": params, "fabric": fabric}, x) - goal) ** 2)

    @jax.jit
    def step(params, state, fabric):
        value, gradient = jax.value_and_grad(loss)(params, fabric)
        updates, state = optimiser.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    params, state = variables["params"], jax.jit(optimiser.init)(variables["params"])
    for _ in range(300):
        params, state, value = step(params, state, variables["fabric"])
    other = initial(mesh, {"params": jax.random.key(0), "chip": jax.random.key(7)})["fabric"]
    assert value < 0.02 * np.mean(goal**2)
    assert step(params, state, other)[2] > 3 * value  # the phases are those of one chip


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
    layer = MeshDense(4, mesh=mesh, detection="intensity", use_bias=False)
    x = np.ones((1, 8), np.float32)
    variables = initial(mesh.replace(detector=None))  # detectors play no part in it
    gain = np.asarray(variables["params"]["gain"])
    expected = np.abs(np.asarray(matrix_of(mesh, variables)).sum(0) / gain) ** 2

    draw = jax.jit(jax.vmap(lambda k: layer.apply(variables, x, rngs={"analog": k})[0]))
    counted = np.asarray(draw(jax.random.split(jax.random.key(4), 8000))) / gain
    np.testing.assert_allclose(counted.mean(0), expected, atol=5 * np.sqrt(expected.max() / 8000))
    np.testing.assert_allclose(counted.var(0), expected, rtol=0.15, atol=0.02)
    np.testing.assert_allclose((counted < 0.5).mean(0), np.exp(-expected), atol=0.025)


def test_coherent_noise_is_the_detectors():
    mesh = IDEAL.replace(detector=Homodyne())
    layer, variables = MeshDense(4, mesh=mesh, use_bias=False), initial(IDEAL)
    x = np.ones((1, 8), np.float32)
    draw = jax.jit(jax.vmap(lambda k: layer.apply(variables, x, rngs={"analog": k})[0]))
    draws = np.asarray(draw(jax.random.split(jax.random.key(5), 4000)))
    gain, quiet = float(variables["params"]["gain"]), np.asarray(matrix_of(IDEAL, variables)).real.sum(0)
    expected = np.hypot(
        gain * float(mesh.detector.sigma(mesh.laser_w / 8, mesh.rate_hz)),
        float(mesh.detector.relative_sigma(mesh.rate_hz)) * np.abs(quiet),
    )
    np.testing.assert_allclose(draws.std(0), expected, rtol=0.05)


@pytest.mark.parametrize(("n_in", "n_out"), [(16, 16), (16, 8), (8, 16)])
def test_random_phases_start_with_the_variance_of_the_usual_draws(n_in, n_out):
    size = {"n_in": n_in, "n_out": n_out}

    @jax.jit
    def matrices(streams):
        return jax.vmap(lambda s: matrix_of(IDEAL, initial(IDEAL, s, **size), **size).real)(streams)

    streams = {"params": jax.random.split(jax.random.key(0), 4), "chip": jax.random.split(jax.random.key(1), 4)}
    np.testing.assert_allclose(np.var(matrices(streams)) * n_in, 1.0, atol=0.15)


def test_nnx_is_the_same_layer():
    layer = nnx.jit(lambda: MeshLinear(8, 4, mesh=MZIMesh(), rngs=nnx.Rngs(0)))()
    x, run = inputs(), nnx.jit(lambda layer, x: layer(x))
    first, second = np.asarray(run(layer, x)), np.asarray(run(layer, x))
    assert not np.allclose(first, second)  # noise is fresh
    layer.noisy = False
    quiet = np.asarray(run(layer, x))
    assert np.allclose(quiet, run(layer, x))
    linen = MeshDense(4, mesh=MZIMesh())
    params = {"phases": layer.phases[...], "gain": layer.gain[...], "bias": layer.bias[...]}
    y = jax.jit(linen.apply)({"params": params, "fabric": {"mesh": layer.fabric.get_value()}}, x)
    np.testing.assert_allclose(quiet, y, rtol=1e-5)
    gradients = nnx.jit(nnx.grad(lambda layer: layer(x).sum()))(layer)
    assert np.abs(gradients["phases"][...]).sum() > 0


def test_bad_input():
    x = inputs()
    with pytest.raises(InputError, match="MeshDense: mesh = 3: must be an MZIMesh"):
        MeshDense(4, mesh=3).init(STREAMS, x)
    with pytest.raises(InputError, match="detection = 'square': must be one of coherent, intensity, differential"):
        MeshDense(4, mesh=MZIMesh(), detection="square").init(STREAMS, x)
    with pytest.raises(InputError, match="features = 0: must be an integer of at least 1"):
        MeshLinear(4, 0, mesh=MZIMesh(), rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match="MeshDense: time"):
        MeshDense(4, mesh=MZIMesh(), time=-1.0).init(STREAMS, x)
    with pytest.raises(InputError, match="MeshLinear: time"):
        MeshLinear(4, 4, mesh=MZIMesh(), time="soon", rngs=nnx.Rngs(0))
    layer = MeshDense(4, mesh=MZIMesh())
    fabric = jax.eval_shape(layer.init, STREAMS, x[:, :4])["fabric"]
    params = jax.eval_shape(layer.init, STREAMS, x)["params"]
    with pytest.raises(InputError, match="x has 8 features for 4 outputs: the layer's mesh was fabricated for another"):
        jax.eval_shape(layer.apply, {"params": params, "fabric": fabric}, x)


def test_the_noise_of_a_mesh_has_the_stream_that_there_is():
    for rngs, name in ((nnx.Rngs(params=0), "params"), (nnx.Rngs(0), "default"), (nnx.Rngs(0, analog=1), "analog")):
        layer = MeshLinear(4, 3, mesh=MZIMesh(), rngs=rngs)
        assert layer.noise_stream == name
        assert nnx.eval_shape(lambda layer, x: layer(x), layer, np.ones((1, 4), np.float32)).shape == (1, 3)
