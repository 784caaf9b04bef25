"""Closed-loop programming against its closed forms, worked here without our code. Conductances in uS.

Where nothing closed exists (read noise: the error of a rejected cell depends on why it was rejected), the density of
the error is carried from pulse to pulse by quadrature. Samples are held to four standard errors.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from analogsim import InputError
from analogsim.devices import WriteVerify
from analogsim.devices.crossbar.write_verify import WriteResult
from tests.support.cells import N, over
from tests.support.sampling import assert_moments

US = 1e-6
EXACT = dict(pulse_noise=0.0, pulse_noise_floor=0.0)


@jax.jit
def write(rule, key, target, g_min=0.0, g_max=1.0, start=None, factor=None) -> WriteResult:
    """By default without ends to saturate at."""
    return rule.write(key, target, g_min=g_min, g_max=g_max, start=start, factor=factor)


def rule(**fields) -> WriteVerify:
    """A rule with patience, conductances given in uS."""
    in_us = ("window", "pulse_noise_floor", "read_noise")
    return WriteVerify(**dict(max_pulses=10_000) | {k: v * US if k in in_us else v for k, v in fields.items()})


def targets(n: int = N, us: float = 20.0) -> np.ndarray:
    return np.full(n, us * US, np.float32)


def errors(written: WriteResult, target_us: float) -> np.ndarray:
    return np.asarray(written.conductance, np.float64) / US - target_us


@pytest.mark.parametrize("c", [0.2, 0.5, 0.9, 1.5])
def test_exact_pulses_close_the_error_geometrically(c):
    # |error| = e (1 - c)^n: n = ceil(ln(window/e)/ln|1 - c|), none for a cell that starts within the window.
    start = np.array([0.0, 3.0, 17.0, 19.2, 20.0, 20.4, 21.7, 55.0])
    e = np.abs(start - 20)
    with np.errstate(divide="ignore"):
        pulses = np.maximum(np.ceil(np.log(0.5 / e) / math.log(abs(1 - c))), 0)
    written = write(rule(window=0.5, correction=c, **EXACT), jax.random.key(0), targets(8), start=start * US)
    np.testing.assert_array_equal(written.pulses, pulses)
    np.testing.assert_allclose(errors(written, 20), (start - 20) * (1 - c) ** pulses, rtol=1e-4, atol=1e-5)
    assert np.all(written.accepted)


def test_a_cell_of_another_scale_is_corrected_at_another_rate():
    # f = 0.6, c = 0.5: the error shrinks by 1 - 0.3 a pulse; ln(0.1/10)/ln 0.7 = 12.9.
    written = write(
        rule(window=0.1, correction=0.5, **EXACT), jax.random.key(0), targets(1), start=10 * US, factor=0.6
    )  # fmt: skip
    assert int(written.pulses[0]) == 13
    np.testing.assert_allclose(errors(written, 20), -10 * 0.7**13, rtol=1e-3)


@pytest.mark.parametrize("f", [1.0, 0.5])
def test_one_pulse_moves_and_spreads_as_written(f):
    # From 10 towards 30 with c = 0.4: a step of 8, spread sqrt((0.25 x 8)^2 + 1.5^2) = 2.5; all of it times f.
    one = rule(window=1e-3, max_pulses=1, correction=0.4, pulse_noise=0.25, pulse_noise_floor=1.5)
    written = write(one, jax.random.key(1), targets(us=30), start=10 * US, factor=f)
    assert_moments(errors(written, 10), 8 * f, 2.5 * f)
    assert stats.kstest((errors(written, 10) / f - 8) / 2.5, "norm").pvalue > 1e-4


@pytest.mark.parametrize(("window", "sigma"), [(1.0, 0.7), (1.0, 3.0), (0.25, 2.0)])
def test_aimed_pulses_are_geometric_and_leave_a_truncated_gaussian(window, sigma):
    aimed = rule(window=window, correction=1.0, pulse_noise=0.0, pulse_noise_floor=sigma)
    written = write(aimed, jax.random.key(2), targets(us=30))
    assert np.all(written.accepted)
    p = math.erf(window / sigma / math.sqrt(2))
    pulses = np.asarray(written.pulses)
    assert_moments(pulses, 1 / p, math.sqrt(1 - p) / p)
    for n in (1, 2, 5):  # the shape: P(pulses > n) = (1 - p)^n
        tail = (1 - p) ** n
        assert abs(np.mean(pulses > n) - tail) < 4 * math.sqrt(tail * (1 - tail) / N)
    a = window / sigma
    deviation = sigma * math.sqrt(1 - 2 * a * stats.norm.pdf(a) / p)
    error = errors(written, 30)
    assert_moments(error, 0.0, deviation)
    assert np.abs(error).max() <= window * (1 + 1e-4)
    assert stats.kstest(error, stats.truncnorm(-a, a, scale=sigma).cdf).pvalue > 1e-4


@functools.cache
def with_read_noise(window: float, sigma: float, s: float):
    """Errors of accepted cells (grid, density) and the mean number of pulses, for c = 1 and a start far away.

    A pulse after a read with deviate h leaves the error -s h + sigma xi; it is accepted with the probability that
    |error + s h'| <= window. Given a rejection, h' and the error are not independent: with f the density of the error
    of the cells still open, h' has the density phi(h') P(|error + s h'| > window), and the next error follows from it.
    """
    reach = 9 * math.hypot(sigma, s)
    error = np.linspace(-reach, reach, 1501)
    h = np.linspace(-8.0, 8.0, 1001)
    de, dh = error[1] - error[0], h[1] - h[0]
    accept = stats.norm.cdf((window - error) / s) - stats.norm.cdf((-window - error) / s)
    kernel = stats.norm.pdf(error[:, None] + s * h[None, :], scale=sigma)
    still_open = stats.norm.pdf(error, scale=math.hypot(sigma, s))  # the first read, far away, is surely rejected
    done, pulses, n = np.zeros_like(error), 0.0, 1
    while still_open.sum() * de > 1e-9:
        new = still_open * accept
        done, pulses, n = done + new, pulses + n * new.sum() * de, n + 1
        below = np.concatenate([[0.0], np.cumsum((still_open[1:] + still_open[:-1]) / 2) * de])
        inside = np.interp(window - s * h, error, below) - np.interp(-window - s * h, error, below)
        still_open = kernel @ (stats.norm.pdf(h) * (below[-1] - inside)) * dh
    assert done.sum() * de == pytest.approx(1, abs=1e-4)
    return error, done, pulses


@pytest.mark.parametrize(("window", "sigma", "s"), [(1.0, 2.0, 0.5), (1.0, 1.0, 1.0), (0.5, 3.0, 1.0)])
def test_read_noise_limits_the_true_error(window, sigma, s):
    noisy = rule(window=window, correction=1.0, pulse_noise=0.0, pulse_noise_floor=sigma, read_noise=s)
    written = write(noisy, jax.random.key(3), targets(us=100))
    grid, density, pulses = with_read_noise(window, sigma, s)
    step = grid[1] - grid[0]
    error = errors(written, 100)
    assert_moments(error, 0.0, math.sqrt((density * grid**2).sum() * step))
    cumulative = np.cumsum(density) * step - density * step / 2
    assert stats.kstest(error, lambda e: np.interp(e, grid, cumulative)).pvalue > 1e-4
    assert abs(np.mean(written.pulses) - pulses) < 4 * np.std(written.pulses) / math.sqrt(N)
    assert np.mean(np.abs(error) > window) > 0.05  # accepted by a lucky read


def test_the_error_behind_one_noisy_read():
    # After one aimed pulse: e ~ N(0, s^2 + sigma^2), read r = e + s h ~ N(0, S^2) with S^2 = 2 s^2 + sigma^2. Given r,
    # e is Gaussian with mean b r, b = (s^2 + sigma^2)/S^2, and variance t = s^2 b. Accepted: |r| <= window.
    window, sigma, s = 1.0, 1.0, 0.8
    one = rule(window=window, max_pulses=1, correction=1.0, pulse_noise=0.0, pulse_noise_floor=sigma, read_noise=s)
    written = write(one, jax.random.key(4), targets(us=100))
    big = math.sqrt(2 * s**2 + sigma**2)
    b, a = (s**2 + sigma**2) / big**2, window / big
    p = math.erf(a / math.sqrt(2))
    cut = big**2 * (1 - 2 * a * stats.norm.pdf(a) / p)
    accepted = np.asarray(written.accepted)
    assert abs(accepted.mean() - p) < 4 * math.sqrt(p * (1 - p) / N)
    assert_moments(errors(written, 100)[accepted], 0.0, math.sqrt(b**2 * cut + s**2 * b))


def test_coarse_pulses_leave_a_uniform_error_and_the_read_noise():
    grid, density, _ = with_read_noise(1.0, 12.0, 0.5)
    variance = (density * grid**2).sum() * (grid[1] - grid[0])
    assert variance == pytest.approx(1 / 3 + 0.5**2, rel=0.02)


@pytest.mark.parametrize("most", [1, 5])
def test_cells_beyond_patience_are_given_up_and_counted(most):
    window, sigma = 1.0, 3.0
    impatient = rule(window=window, max_pulses=most, correction=1.0, pulse_noise=0.0, pulse_noise_floor=sigma)
    written = write(impatient, jax.random.key(5), targets(us=30))
    left = (1 - math.erf(window / sigma / math.sqrt(2))) ** most
    given_up = ~np.asarray(written.accepted)
    assert abs(given_up.mean() - left) < 4 * math.sqrt(left * (1 - left) / N)
    assert np.all(np.asarray(written.pulses)[given_up] == most)
    assert np.all(np.abs(errors(written, 30)[given_up]) > window)
    assert np.all(np.abs(errors(written, 30)[~given_up]) <= window * (1 + 1e-4))


def test_pulses_and_reads_add_up():
    written = WriteResult(np.zeros((2, 2)), np.array([[0, 3], [7, 40]]), np.ones((2, 2), bool))
    pulses, reads = WriteVerify().cost(written)
    assert (pulses.name, float(pulses.quantity), pulses.unit) == ("write pulse", 50.0, "pulse")
    assert (reads.name, float(reads.quantity), reads.unit) == ("verify read", 54.0, "read")


def test_the_loop_sees_the_scale_that_an_open_loop_does_not():
    factor = np.exp(0.2 * np.random.default_rng(6).standard_normal(N)).astype(np.float32)
    written = write(rule(), jax.random.key(7), targets(), g_min=US, g_max=60 * US, factor=factor)
    assert np.all(written.accepted)
    # An open loop would leave 20 (f - 1), a spread of about 4 uS; this one leaves what fits into the window.
    assert np.abs(errors(written, 20)).max() <= 1.0001


def test_a_weak_cell_saturates_below_its_target():
    written = write(
        rule(max_pulses=20, **EXACT), jax.random.key(8), np.float32([36 * US, 39.5 * US]),
        g_min=US, g_max=40 * US, factor=np.float32([0.8, 1.0]),
    )  # fmt: skip
    written = jax.tree.map(np.asarray, written)
    np.testing.assert_allclose(written.conductance[0], 32 * US, rtol=1e-6)
    np.testing.assert_array_equal(written.accepted, [False, True])
    assert int(written.pulses[0]) == 20


def test_a_stuck_cell_has_a_window_of_no_width():
    low, high = np.float32([[1 * US, 40 * US, 1 * US, 20.5 * US], [40 * US, 40 * US, 1 * US, 20.5 * US]])
    written = write(rule(max_pulses=25), jax.random.key(9), targets(4), g_min=low, g_max=high)
    written = jax.tree.map(np.asarray, written)
    np.testing.assert_array_equal(written.accepted, [True, False, False, True])
    np.testing.assert_array_equal(written.pulses[1:], [25, 25, 0])
    np.testing.assert_allclose(written.conductance[1:], low[1:], rtol=1e-6)


def test_the_defaults_meet_the_pulses_they_were_chosen_for():
    target = over(1.0, 40.0)
    written = write(WriteVerify(), jax.random.key(10), target, g_min=US, g_max=40 * US)
    assert abs(np.mean(written.pulses) - 8.52) < 0.1
    assert np.mean(written.accepted) > 0.99


#: window: (mean pulses, spread of the error) as the class states them, without and with read noise.
STUDY = {4.0: (4.4, 1.59, 1.66), 1.0: (8.6, 0.57, 0.76), 0.25: (22.9, 0.14, 0.52)}


@pytest.mark.parametrize("window", STUDY)
def test_what_a_window_costs_is_as_documented(window):
    target = over(1.0, 40.0)
    pulses, deviation, noisy_deviation = STUDY[window]
    for read_noise, expected in ((None, deviation), (0.5, noisy_deviation)):
        patient = rule(window=window) if read_noise is None else rule(window=window, read_noise=read_noise)
        written = write(patient, jax.random.key(17), target, g_min=US, g_max=40 * US)
        assert np.mean(written.pulses) == pytest.approx(pulses, rel=0.02)
        assert np.std(errors(written, 0) - target.astype(np.float64) / US) == pytest.approx(expected, abs=0.01)


def test_same_key_same_cells_under_vmap_and_in_each_part_its_own():
    keys, target = jax.random.split(jax.random.key(11), 3), targets(20)
    noisy = rule(read_noise=0.3)
    together = jax.jit(jax.vmap(lambda key: noisy.write(key, target, g_min=US, g_max=40 * US)))(keys)
    together = jax.tree.map(np.asarray, together)
    for i, key in enumerate(keys):
        alone = write(noisy, key, target, g_min=US, g_max=40 * US)
        np.testing.assert_allclose(together.conductance[i], alone.conductance, rtol=1e-6)
        np.testing.assert_array_equal(together.pulses[i], alone.pulses)
    outside_jit = noisy.write(keys[0], target, g_min=US, g_max=40 * US)
    np.testing.assert_allclose(outside_jit.conductance, together.conductance[0], rtol=1e-6)
    assert len(np.unique(together.conductance)) == together.conductance.size


def test_rules_are_an_axis_of_vmap():
    def outcome(window):
        written = rule(window=1.0).replace(window=window).write(jax.random.key(12), target, g_min=US, g_max=40 * US)
        return jnp.std(written.conductance - target), jnp.mean(written.pulses)

    target = targets(4000)
    deviation, pulses = jax.jit(jax.vmap(outcome))(np.float32([0.5 * US, US, 2 * US]))
    assert np.all(np.diff(deviation) > 0)
    assert np.all(np.diff(pulses) < 0)


def test_accepted_cells_follow_their_target_and_nothing_else_has_a_gradient():
    target = np.linspace(5 * US, 45 * US, 9, dtype=np.float32)  # the last lie out of reach

    def total(target, window, factor):
        few = rule(max_pulses=15).replace(window=window)
        written = few.write(jax.random.key(13), target, g_min=US, g_max=40 * US, factor=factor)
        return jnp.sum(written.conductance), written.accepted

    gradients, accepted = jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))(target, US, np.ones(9, np.float32))
    accepted = np.asarray(accepted)
    assert 0 < int(accepted.sum()) < 9
    np.testing.assert_array_equal(gradients[0], accepted.astype(np.float32))
    np.testing.assert_array_equal(gradients[1], 0.0)
    np.testing.assert_array_equal(gradients[2], 0.0)


def test_dtypes_stay():
    for dtype in (jnp.bfloat16, jnp.float64):
        with jax.enable_x64(dtype == jnp.float64):
            target = np.full(500, 20 * US, dtype)
            written = write(WriteVerify(), jax.random.key(14), target, US, 40 * US, None, np.float32(1))
        assert (written.conductance.dtype, written.pulses.dtype) == (dtype, jnp.int32)
        # bfloat16 has steps of 2^-8: the window is kept to rounding.
        reached, target = (np.asarray(g).astype(np.float64) for g in (written.conductance, target))
        far = np.abs(reached - target)[np.asarray(written.accepted)]
        assert far.max() <= 1.0001 * US + 20 * US * float(jnp.finfo(dtype).eps)


def test_wide_rules_do_not_widen_the_cells():
    with jax.enable_x64(True):
        wide = WriteVerify(window=np.float64(US), pulse_noise=np.float64(0.1), read_noise=np.float64(0.1 * US))
        written = write(wide, jax.random.key(18), targets(5), g_min=US, g_max=40 * US)
        assert written.conductance.dtype == jnp.float32


@pytest.mark.slow
def test_a_full_array_is_written_in_seconds():
    target = jax.random.uniform(jax.random.key(15), (2, 512, 512), minval=US, maxval=40 * US)
    written = write(WriteVerify(), jax.random.key(16), target, g_min=US, g_max=40 * US)
    assert written.pulses.shape == target.shape
    assert np.mean(written.accepted) > 0.99
    assert np.all(np.isfinite(written.conductance))


def test_a_correction_by_twice_the_error_never_ends_and_is_refused():
    with pytest.raises(InputError, match=r"WriteVerify.correction = 2: must be greater than 0 and less than 2"):
        WriteVerify(correction=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(key=None), "key = None"),
        (dict(target=jnp.ones(3, jnp.int32)), "target of int32: must be real conductances"),
        (dict(target=jnp.ones(3, jnp.complex64)), "target of complex64: must be real conductances"),
        (dict(g_min=2e-6, g_max=1e-6), "g_min = 2e-06: must be at most g_max = 1e-06 in every cell"),
        (dict(factor=jnp.array([1.0, 0.0, 2.0])), "factor = 0: must be greater than 0 in every cell"),
        (dict(start=jnp.ones(4)), r"start has shape \(4,\): must broadcast to the targets' shape \(3,\)"),
        (dict(factor=jnp.ones((2, 3))), r"factor has shape \(2, 3\): must broadcast to the targets' shape \(3,\)"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    good = dict(key=jax.random.key(0), target=jnp.full(3, 20e-6), g_min=1e-6, g_max=40e-6)
    with pytest.raises(InputError, match=message):
        WriteVerify().write(**(good | arguments))
