"""Pieces for a user's own Optax loop: weight noise and clipping."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from analogsim import InputError
from analogsim.training import clip_weights, weight_noise

PARAMS = {"Dense_0": {"kernel": jnp.array([[1.0, 4.0], [-2.0, 0.5]]), "bias": jnp.ones(2)}}


@pytest.mark.parametrize(("relative_to", "largest"), [("column", [2.0, 4.0]), ("layer", [4.0, 4.0])])
def test_weight_noise_has_the_size_asked_for(relative_to, largest):
    keys = jax.random.split(jax.random.key(0), 4000)
    noisy = jax.vmap(lambda k: weight_noise(k, PARAMS, 0.05, relative_to=relative_to))(keys)
    deviation = np.asarray(noisy["Dense_0"]["kernel"] - PARAMS["Dense_0"]["kernel"])
    expected = np.broadcast_to(0.05 * np.array(largest), (2, 2))
    np.testing.assert_allclose(deviation.std(0), expected, rtol=4 / np.sqrt(2 * 4000))
    assert np.all(np.abs(deviation.mean(0)) < 4 * expected / np.sqrt(4000))
    fourth = (deviation**4).mean(0) / deviation.var(0) ** 2
    np.testing.assert_allclose(fourth, 3.0, atol=4 * np.sqrt(24 / 4000))
    np.testing.assert_array_equal(noisy["Dense_0"]["bias"], np.ones((4000, 2)))


def test_gradients_pass_as_if_there_were_no_noise():
    def loss(params, key):
        return (weight_noise(key, params, 0.3)["Dense_0"]["kernel"] * jnp.arange(4.0).reshape(2, 2)).sum()

    grads = jax.jit(jax.grad(loss))(PARAMS, jax.random.key(0))
    np.testing.assert_array_equal(grads["Dense_0"]["kernel"], np.arange(4.0).reshape(2, 2))


def test_noise_level_can_be_a_schedule_in_one_compilation():
    levels = jnp.array([0.0, 0.1])
    spread = jax.vmap(lambda s: jnp.abs(weight_noise(jax.random.key(0), PARAMS, s)["Dense_0"]["kernel"]).sum())(levels)
    assert float(spread[0]) == 7.5
    assert float(spread[1]) != 7.5


def test_clipping_obeys_the_limit_and_leaves_biases():
    tx = optax.chain(optax.sgd(1.0), clip_weights(1.5))
    gradients = jax.tree.map(lambda p: -10 * jnp.ones_like(p), PARAMS)
    updates, _ = tx.update(gradients, tx.init(PARAMS), PARAMS)
    new = optax.apply_updates(PARAMS, updates)
    np.testing.assert_allclose(new["Dense_0"]["kernel"], 1.5)
    np.testing.assert_allclose(new["Dense_0"]["bias"], 11.0)


def test_clipping_at_standard_deviations():
    kernel = jnp.array([[3.0, -1.0], [0.0, 0.0]])  # standard deviation by hand: sqrt(10/4 - 1/4) = 1.5
    tx = clip_weights(sigmas=1.0)
    updates, _ = tx.update({"kernel": jnp.zeros((2, 2))}, tx.init(kernel), {"kernel": kernel})
    np.testing.assert_allclose(kernel + updates["kernel"], [[1.5, -1.0], [0.0, 0.0]], atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: weight_noise(jax.random.key(0), PARAMS, -0.1), "std = -0.1: must be at least 0"),
        (lambda: weight_noise(jax.random.key(0), PARAMS, 0.1, relative_to="row"), "must be one of 'column', 'layer'"),
        (lambda: weight_noise(jax.random.key(0), {"w": jnp.ones(2)}, 0.1), "no parameter is selected"),
        (lambda: weight_noise(0, PARAMS, 0.1), "key = 0: must be a random key, for example jax.random.key(0)"),
        (lambda: weight_noise(jax.random.split(jax.random.key(0)), PARAMS, 0.1), "an array of keys of shape (2,)"),
        (lambda: weight_noise(jax.random.key(0), PARAMS, "a"), "std = 'a': must be a number of at least 0"),
        (lambda: weight_noise(jax.random.key(0), PARAMS, None), "std = None: must be a number"),
        (lambda: weight_noise(jax.random.key(0), PARAMS, jnp.array(-1.0)), "must be at least 0"),
        (lambda: clip_weights("1"), "limit = '1': must be a number greater than 0"),
        (lambda: clip_weights(True), "limit = True: must be a number greater than 0"),
        (lambda: clip_weights(sigmas=float("nan")), "sigmas = nan: must be greater than 0"),
        (lambda: clip_weights(), "give exactly one of limit and sigmas"),
        (lambda: clip_weights(0.0), "limit = 0: must be greater than 0"),
        (lambda: clip_weights(1.0).update({"kernel": jnp.ones(2)}, None), "needs the parameters"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError) as error:
        call()
    assert message in str(error.value)
