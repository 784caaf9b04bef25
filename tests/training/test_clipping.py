"""Learned limits of weights: by hand, and against the reparametrised network that they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from analogsim import InputError
from analogsim.training import clip_weights, learned_clip


def limits_of(state, kernel=0):
    return optax.tree_utils.tree_get(state, "limits")[kernel]


def test_columns_have_standard_deviations_of_their_own():
    # Columns (3, -3, 0, 0) and (1, 1, -1, -1): deviations sqrt(18/4) and 1.
    kernel = jnp.array([[3.0, 1.0], [-3.0, 1.0], [0.0, -1.0], [0.0, -1.0]])
    tx = clip_weights(sigmas=1.0, per="column")
    updates, _ = tx.update({"kernel": 0 * kernel}, tx.init(kernel), {"kernel": kernel})
    s = np.sqrt(18 / 4)
    expected = [[s, 1.0], [-s, 1.0], [0.0, -1.0], [0.0, -1.0]]
    np.testing.assert_allclose(kernel + updates["kernel"], expected, rtol=1e-6)


def test_a_learned_limit_by_hand():
    # Limit 1: of V = (1.5, -2, 0.5) the first two are clipped, and u sign(V) is 0.3 and 0.1 there; m = 0.5, decay 0.2:
    # c = 1 + 0.5 (0.4 - 0.2) = 1.1. V stays where it is clipped, and becomes 0.7; W = (1.1, -1.1, 0.7).
    params = {"kernel": jnp.array([[1.5], [-2.0], [0.5]]), "bias": jnp.array([5.0])}
    updates = {"kernel": jnp.array([[0.3], [-0.1], [0.2]]), "bias": jnp.array([1.0])}
    tx = learned_clip(1.0, learning_rate=0.5, decay=0.2)
    found, state = tx.update(updates, tx.init(params), params)
    np.testing.assert_allclose(limits_of(state, 1), [[1.1]], rtol=1e-6)
    np.testing.assert_allclose(params["kernel"] + found["kernel"], [[1.1], [-1.1], [0.7]], rtol=1e-6)
    assert float(found["bias"][0]) == 1.0


def test_limits_fall_with_the_weights_beyond_them():
    params = {"kernel": jnp.array([[1.5, 0.2], [0.4, 0.1]])}
    tx = learned_clip(1.0)
    found, state = tx.update({"kernel": jnp.array([[-0.25, 0.0], [0.0, 0.0]])}, tx.init(params), params)
    np.testing.assert_allclose(limits_of(state), [[0.75, 1.0]])
    np.testing.assert_allclose(params["kernel"] + found["kernel"], [[0.75, 0.2], [0.4, 0.1]])


def test_every_step_is_that_of_the_reparametrised_network():
    """Gradient descent on V and c of W = clip(V, -c, c), by automatic differentiation."""
    x = np.asarray(jax.random.normal(jax.random.key(0), (20, 4)))
    kernel, rate = np.asarray(jax.random.normal(jax.random.key(2), (4, 3))), 0.05
    target = x @ (2 * kernel)  # the limits have to open
    loss = lambda w: ((x @ w - target) ** 2).mean()  # noqa: E731
    v, c = kernel, np.full((1, 3), 0.5, np.float32)
    tx = optax.chain(optax.sgd(rate), learned_clip(0.5, decay=0.01))
    params = {"kernel": kernel}
    state = tx.init(params)
    params = {"kernel": np.clip(kernel, -0.5, 0.5)}  # the network that both begin with

    @jax.jit
    def ours(params, state):
        gradients = {"kernel": jax.grad(loss)(params["kernel"])}
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    @jax.jit
    def theirs(v, c):
        gradient_v, gradient_c = jax.grad(lambda v, c: loss(jnp.clip(v, -c, c)), argnums=(0, 1))(v, c)
        return v - rate * gradient_v, c - rate * gradient_c - 0.01 * c

    for _ in range(20):
        (params, state), (v, c) = ours(params, state), theirs(v, c)
        np.testing.assert_allclose(limits_of(state), c, rtol=1e-4)
        np.testing.assert_allclose(params["kernel"], np.clip(v, -c, c), rtol=1e-4, atol=1e-5)


def test_they_end_where_the_reparametrised_network_does():
    """min over V, c of |clip(V, -c, c) - target|^2 + penalty c^2: the limit and the weights of PACT."""
    target, penalty = np.float32([2.0, 1.5, -1.8, 0.3, -0.2]), 0.5

    def pact(v, c):
        return ((jnp.clip(v, -c, c) - target) ** 2).sum() + penalty * c**2

    # The optimum by hand: 2 and -1.8 are at the limit, 2 (2 c - 3.8) + 2 penalty c = 0, and 1.5 is just within.
    c_best = 3.8 / (2 + penalty)

    @jax.jit
    def step_of_pact(v, c):
        gradient_v, gradient_c = jax.grad(pact, argnums=(0, 1))(v, c)
        return v - 0.05 * gradient_v, c - 0.05 * gradient_c

    v, c = target, np.float32(1.0)
    for _ in range(500):
        v, c = step_of_pact(v, c)
    assert float(c) == pytest.approx(c_best, rel=1e-3)

    # The gradient of the penalty, 2 penalty c, is the decay of the limit, once in units of the weights' rate 0.05.
    tx = optax.chain(optax.sgd(0.05), learned_clip(1.0, decay=0.05 * 2 * penalty, per="kernel"))
    params = {"kernel": target[:, None]}
    state = tx.init(params)

    @jax.jit
    def step(params, state):
        gradients = jax.grad(lambda p: ((p["kernel"][:, 0] - target) ** 2).sum())(params)
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(500):
        params, state = step(params, state)
    assert float(limits_of(state)[0, 0]) == pytest.approx(c_best, rel=1e-3)
    np.testing.assert_allclose(np.asarray(params["kernel"])[:, 0], np.clip(target, -c_best, c_best), rtol=1e-3)


def test_first_limits_and_many_steps_of_one():
    kernel = np.asarray(jax.random.normal(jax.random.key(0), (50, 3)))
    tx = optax.MultiSteps(optax.chain(optax.sgd(0.1), learned_clip(sigmas=2.0)), every_k_schedule=2)
    state = tx.init({"kernel": kernel})
    found = optax.tree_utils.tree_get(state, "limits")[0]
    np.testing.assert_allclose(found[0], 2 * kernel.std(0), rtol=1e-5)
    update = jax.jit(tx.update)
    updates, state = update({"kernel": 0 * kernel}, state, {"kernel": kernel})
    np.testing.assert_array_equal(updates["kernel"], 0 * kernel)  # the first of two
    updates, state = update({"kernel": 0 * kernel}, state, {"kernel": kernel})
    assert (np.abs(kernel + updates["kernel"]) - found[0]).max() < 1e-6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: learned_clip(), r"learned_clip: give exactly one of initial and sigmas"),
        (lambda: learned_clip(-1.0), r"initial = -1: must be greater than 0"),
        (lambda: learned_clip(1.0, decay=-1), r"decay = -1: must be at least 0"),
        (lambda: learned_clip(1.0, per="row"), r"learned_clip: per = 'row': must be one of 'kernel', 'column'"),
        (lambda: clip_weights(1.0, per="row"), r"clip_weights: per = 'row': must be one of"),
        (lambda: learned_clip(1.0).init({"bias": jnp.ones(2)}), r"no parameter is selected"),
        (lambda: learned_clip(1.0).update({"kernel": jnp.ones((2, 2))}, None), r"learned_clip needs the parameters"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
