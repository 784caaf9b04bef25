"""Weight modifiers: the weights that training sees, by their distribution; read off an identity without converters."""

import functools
import math

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import nnx

import analogsim.nnx
from analogsim import ADC, DAC, FreshChip, Hardware, InputError, preset
from analogsim.devices import (
    PCM,
    SONOS,
    BitSlices,
    Crossbar,
    Differential,
    Faults,
    GenericCell,
    MZIMesh,
    Offset,
    ReRAM,
)
from analogsim.linen import AnalogDense
from analogsim.training import (
    AdditiveNoise,
    Chain,
    DeviceNoise,
    Discretise,
    DropConnect,
    MultiplicativeNoise,
    ProgrammingNoise,
    ReadNoise,
    StuckCells,
    modified_weights,
    scaled_noise,
)
from tests.support.sampling import assert_moments, censored

W = np.array([[0.8, -0.3], [-0.2, 0.6], [0.05, 0.0]], np.float32)
EYE = np.eye(3, dtype=np.float32)
LARGEST = np.array([0.8, 0.6])  # of each column
N = 4000
DAY_S = 86400.0


def hardware_with(training, **options):
    return Hardware(**({"store": Crossbar(cell=PCM())} | options), training=training)


def layer(training, **options):
    return AnalogDense(2, hardware=hardware_with(training, **options), use_bias=False)


@jax.jit
def called(hardware, x, level, keys):
    """Outputs ``[key, ...]``. The hardware's numbers are traced: one program for each of its structures."""
    dense = AnalogDense(2, hardware=hardware, use_bias=False)

    def call(key):
        with scaled_noise(level):
            return dense.apply({"params": {"kernel": W}}, x, rngs={"analog": key})

    return jax.vmap(call)(keys)


def seen(training, n=N, inputs=EYE, level=1.0, **options):
    """The weights of many calls, ``[n, 3, 2]``; always computed N at a time, of one shape."""
    hardware = hardware_with(training, **options)
    keys = [jax.random.split(jax.random.key(i), N) for i in range(-(-n // N))]
    return np.concatenate([np.asarray(called(hardware, inputs, level, some)) for some in keys])[:n]


@pytest.mark.parametrize(
    ("training", "std"),
    [
        (AdditiveNoise(std=0.05), np.broadcast_to(0.05 * LARGEST, (3, 2))),
        (AdditiveNoise(std=0.05, relative_to="layer"), np.full((3, 2), 0.05 * 0.8)),
        (MultiplicativeNoise(std=0.1), 0.1 * np.abs(W)),
        (ReadNoise(std=0.02), 0.02 * np.sqrt(np.abs(W) / LARGEST) * LARGEST),
        (AdditiveNoise(std=0.05, draw="example"), np.broadcast_to(0.05 * LARGEST, (3, 2))),
        (
            Chain(modifiers=(MultiplicativeNoise(std=0.0), AdditiveNoise(std=0.05))),
            np.broadcast_to(0.05 * LARGEST, (3, 2)),
        ),
    ],
)
def test_gaussian_noise_has_the_size_asked_for(training, std):
    weights = seen(training)
    for i, j in np.ndindex(3, 2):
        if std[i, j] > 0:
            assert_moments(weights[:, i, j], W[i, j], std[i, j])
        else:
            np.testing.assert_allclose(weights[:, i, j], W[i, j], atol=1e-7)
    deviations = (weights - W).reshape(N, -1)
    correlations = np.corrcoef(deviations[:, np.asarray(std).ravel() > 0].T) - np.eye((np.asarray(std) > 0).sum())
    assert np.abs(correlations).max() < 4.5 / math.sqrt(N)


def test_noise_is_relative_to_the_window_of_the_tile():
    # Two tiles: rows 0 and 1, and row 2, whose largest weight of column 0 is 0.05.
    weights = seen(AdditiveNoise(std=0.1), rows=2)
    assert_moments(weights[:, 2, 0], 0.05, 0.1 * 0.05)
    assert_moments(weights[:, 0, 0], 0.8, 0.1 * 0.8)


def test_discretise_rounds_to_the_nearest_level():
    # Three bits: seven levels k/3 of the largest weight of the column.
    expected = np.array([[3, -2], [-1, 3], [0, 0]]) / 3 * LARGEST  # -0.3/0.6 = -1.5/3 goes to the even level, -2/3
    np.testing.assert_allclose(seen(Discretise(bits=3), n=1)[0], expected, rtol=1e-6)
    np.testing.assert_allclose(seen(Discretise(bits=3), n=1, level=0.5)[0], (expected + W) / 2, rtol=1e-6, atol=1e-7)


def test_dropped_weights_are_zero_and_the_others_larger():
    weights = seen(DropConnect(probability=0.2))
    dropped = weights == 0
    held = W != 0
    share = dropped[:, held].mean()
    assert abs(share - 0.2) < 4 * math.sqrt(0.2 * 0.8 / (N * held.sum()))
    whole = np.broadcast_to(W / np.float32(0.8), weights.shape)
    np.testing.assert_allclose(weights[~dropped], whole[~dropped], rtol=1e-5)


def test_stuck_weights():
    weights = seen(StuckCells(off=0.1, on=0.06))[:, 1, 0]  # of -0.2 beside 0.8
    for value, share in ((0.0, 0.1), (0.8, 0.03), (-0.8, 0.03), (-0.2, 0.84)):
        found = np.isclose(weights, value, atol=1e-6).mean()
        assert abs(found - share) < 4 * math.sqrt(share * (1 - share) / N), value


@pytest.mark.parametrize("training", [DropConnect(probability=0.2), StuckCells(off=0.1, on=0.06)])
def test_draws_for_every_example_have_the_moments_of_draws_by_step(training):
    x = np.tile(np.float32([1.0, -2.0, 0.5]), (3, 1))
    by_example = seen(training.replace(draw="example"), inputs=x)[:, 0]
    by_step = seen(training, inputs=x, n=8 * N)[:, 0].astype(np.float64)
    for j in range(2):
        n_mean, n_std = by_step[:, j].mean(), by_step[:, j].std()
        assert_moments(by_example[:, j], n_mean, n_std, errors=4.5)


def test_a_step_shares_its_draw_and_an_example_does_not():
    x = np.ones((3, 3), np.float32)
    shared = seen(AdditiveNoise(std=0.1), inputs=x, n=20)
    np.testing.assert_allclose(shared[:, 0], shared[:, 1], rtol=1e-6)
    own = seen(AdditiveNoise(std=0.1, draw="example"), inputs=x)
    deviations = own - x @ W
    assert abs(np.corrcoef(deviations[:, 0, 0], deviations[:, 1, 0])[0, 1]) < 4.5 / math.sqrt(N)
    assert_moments(deviations[:, 0, 0], 0.0, 0.1 * 0.8 * math.sqrt(3))


def test_programming_noise_is_the_published_one():
    # sigma/uS = 0.26348 + 1.9650 x - 1.1731 x^2 of a cell that holds x of 25 uS; the idle cell cannot go below zero.
    sigma = lambda x: 0.26348 + 1.9650 * x - 1.1731 * x**2  # noqa: E731
    weights = seen(ProgrammingNoise(), n=20_000)
    idle_mean, idle_std = censored(0.0, sigma(0.0))
    for i, j in ((0, 0), (1, 0), (1, 1)):
        x = abs(W[i, j]) / LARGEST[j]
        mean = np.sign(W[i, j]) * (25 * x - idle_mean) / 25 * LARGEST[j]
        std = math.hypot(sigma(x), idle_std) / 25 * LARGEST[j]
        # The table is linear between 257 weights: 1 % of the standard deviation is left to it.
        assert abs(weights[:, i, j].mean() - mean) < 4.5 * std / math.sqrt(20_000) + 0.02 * std
        assert weights[:, i, j].std() == pytest.approx(std, rel=4.5 / math.sqrt(2 * 20_000) + 0.02)


@functools.cache
def fresh(cell, time_s, compensation):
    return seen(FreshChip(time_s=time_s), n=12_000, **on_cells(cell, compensation))


def on_cells(cell, compensation):
    """By the mean absolute readout, to which all of six weights add."""
    return dict(store=Crossbar(cell=cell), drift_compensation=compensation, drift_estimator="mean absolute")


_GENERIC = GenericCell(programming_sigma=0.03, drift_mean=0.06, drift_std=0.03, read_noise=0.03, spectrum="1/f")


@pytest.mark.parametrize(
    ("cell", "time_s", "compensation"),
    [(PCM(), 1.0, "none"), (PCM(), 3.15e7, "none"), (PCM(), 3.15e7, "global"), (ReRAM(), 1e5, "none"),
     (_GENERIC, DAY_S, "column")],
)  # fmt: skip
def test_device_noise_has_the_moments_of_sampled_cells(cell, time_s, compensation):
    sampled = fresh(cell, time_s, compensation)
    modelled = seen(DeviceNoise(time_s=time_s), n=12_000, **on_cells(cell, compensation))
    for i, j in ((0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)):
        std = sampled[:, i, j].std()
        # On six weights the factor of compensation is itself random on a chip, which the model leaves out.
        slack = 0.03 if compensation == "none" else 0.06
        mean_error = 4.5 * std * math.sqrt(2 / 12_000) + slack * std + (0.0 if compensation == "none" else 2e-3)
        assert abs(modelled[:, i, j].mean() - sampled[:, i, j].mean()) < mean_error, (i, j)
        if compensation == "none":
            assert modelled[:, i, j].std() == pytest.approx(std, rel=0.05), (i, j)


def test_the_factor_of_device_noise_is_that_of_a_chip():
    rng = np.random.default_rng(3)
    weights = np.float32(rng.normal(size=(96, 96)) * (rng.random((96, 96)) < 0.2))
    hardware = Hardware(store=Crossbar(cell=PCM()), drift_compensation="global")
    read = jax.jit(lambda how: how.reading(hardware, weights, jax.random.key(0), None, None).gain)
    chip, model = (float(read(how(time_s=3.15e7))[0, 0, 0, 0]) for how in (FreshChip, DeviceNoise))
    assert 1.9 < chip < 2.3  # 1577001^0.049 = 2.01 and more
    # 1,843 weights, weighted with their squares (as 600 alike), each drifts off by a seventh: 0.6 %.
    assert model == pytest.approx(chip, rel=4 * 0.006)


def test_a_random_time_is_uniform_in_its_logarithm():
    when = FreshChip(time_s=1.0, until_s=1e6).when
    exponents = np.log10(np.asarray(jax.jit(jax.vmap(when))(jax.random.split(jax.random.key(0), N))))
    assert exponents.min() >= 0
    assert exponents.max() <= 6
    assert_moments(exponents, 3.0, 6 / math.sqrt(12))


@pytest.mark.parametrize(
    ("training", "compensation"),
    [(FreshChip(time_s=DAY_S), "global"), (DeviceNoise(time_s=DAY_S), "global"), (AdditiveNoise(std=0.1), "none"),
     (DropConnect(probability=0.3), "none")],
)  # fmt: skip
def test_without_strength_the_layer_is_the_plain_one(training, compensation):
    weights = seen(training, n=3, level=0.0, drift_compensation=compensation)
    np.testing.assert_allclose(weights, np.broadcast_to(W, (3, 3, 2)), atol=2e-6)


@pytest.mark.parametrize("training", [FreshChip(time_s=DAY_S), AdditiveNoise(std=0.1)])
def test_half_the_strength_deviates_half_as_far(training):
    store = Crossbar(cell=PCM(read_noise=0.0))
    whole, half = (seen(training, n=5, level=level, store=store) - W for level in (1.0, 0.5))
    np.testing.assert_allclose(half, whole / 2, atol=1e-6)


def test_strength_scales_the_noise_of_converters():
    dense = layer(Discretise(bits=24), dac=DAC(bits=24), adc=ADC(bits=24, range=100.0, noise=0.2))
    x, key = np.zeros((4000, 3), np.float32), jax.random.key(0)

    @jax.jit
    def outputs(level):
        with scaled_noise(level):
            return dense.apply({"params": {"kernel": W}, "ranges": {"analog": {"input": 1.0}}}, x, rngs={"analog": key})

    for level in (1.0, 0.25):
        assert_moments(
            np.asarray(outputs(level))[:, 0], 0.0, 0.2 * level * 0.8
        )  # in fully driven cells of the column's largest
    assert np.abs(outputs(0.0)).max() < 1e-5


def test_a_schedule_of_strengths_is_one_compilation():
    traces, dense = [], layer(AdditiveNoise(std=0.1))

    @jax.jit
    def output(level, key):
        traces.append(level)
        with scaled_noise(level):
            return dense.apply({"params": {"kernel": W}}, EYE, rngs={"analog": key})

    deviation = [np.abs(output(level, jax.random.key(0)) - W).mean() for level in (0.0, 0.5, 1.0)]
    assert len(traces) == 1
    assert deviation[0] < 1e-6
    assert deviation[2] == pytest.approx(2 * deviation[1], rel=1e-4)


@pytest.mark.parametrize(
    "training", [AdditiveNoise(std=0.3), Discretise(bits=2), DropConnect(probability=0.5), DeviceNoise(time_s=DAY_S)]
)
def test_gradients_pass_straight_through(training):
    dense, x = layer(training), np.arange(6, dtype=np.float32).reshape(2, 3)

    def loss(kernel):
        return (dense.apply({"params": {"kernel": kernel}}, x, rngs={"analog": jax.random.key(0)}) * 2).sum()

    np.testing.assert_allclose(jax.jit(jax.grad(loss))(W), np.broadcast_to(2 * x.sum(0)[:, None], (3, 2)), rtol=1e-5)


@pytest.mark.parametrize(
    "mapping",
    [Offset(), Offset(subtraction="unit column"), Differential(subtraction="digital"), Differential(sides=2),
     Differential(slices=BitSlices(widths=(6, 6, 6)))],
)  # fmt: skip
def test_modifiers_work_on_every_mapping(mapping):
    store = Crossbar(cell=PCM(g_min="1 uS"), mapping=mapping)
    np.testing.assert_allclose(seen(AdditiveNoise(std=0.0), n=1, store=store)[0], W, atol=1e-5)
    assert_moments(seen(AdditiveNoise(std=0.05), store=store)[:, 1, 1], 0.6, 0.05 * 0.6)


@pytest.mark.slow
def test_modifiers_in_groups_and_in_nnx():
    x = np.asarray(jax.random.normal(jax.random.key(0), (2, 6, 6, 4)))
    conv = nn.Conv(8, (3, 3), feature_group_count=2)
    variables = jax.jit(conv.init)(jax.random.key(1), x)
    hardware = preset("pcm", training=AdditiveNoise(std=0.1), dac=None, adc=None)
    plain = np.asarray(jax.jit(conv.apply)(variables, x))

    @jax.jit
    def run(hardware):
        return analogsim.convert(conv, hardware).apply(variables, x, rngs={"analog": jax.random.key(2)})

    for groups in ("shared", "apart"):
        noisy = hardware.replace(groups=groups)
        assert 0.01 < np.abs(run(noisy) - plain).mean() < 0.5
        np.testing.assert_allclose(run(noisy.replace(**{"training.std": 0.0})), plain, atol=1e-5)
    linear = analogsim.nnx.AnalogLinear(4, 3, hardware=hardware, rngs=nnx.Rngs(0))

    @nnx.jit
    def outputs(linear, level):
        with scaled_noise(level):
            return linear(x)

    exact = outputs(linear, 0.0)
    np.testing.assert_allclose(exact, x @ linear.kernel[...] + linear.bias[...], atol=1e-5)
    assert not np.allclose(outputs(linear, 1.0), exact, atol=1e-3)


def test_modified_weights_of_any_model():
    params = {"Dense_0": {"kernel": W, "bias": np.ones(2, np.float32)}}

    def modified(key, modifier):
        return modified_weights(key, params, modifier)["Dense_0"]["kernel"]

    dropped = jax.jit(jax.vmap(lambda key: modified(key, DropConnect(probability=0.25))))
    weights = np.asarray(dropped(jax.random.split(jax.random.key(0), N)))
    assert_moments(weights[:, 0, 0], 0.8, 0.8 * math.sqrt(0.25 / 0.75))
    levels = jax.jit(modified)(jax.random.key(0), Discretise(bits=2))
    np.testing.assert_allclose(levels, np.array([[0.8, 0.0], [0.0, 0.6], [0.0, 0.0]]), atol=1e-7)
    gradient = jax.grad(lambda p: modified_weights(jax.random.key(0), p, Discretise(bits=2))["kernel"].sum())
    np.testing.assert_array_equal(jax.jit(gradient)({"kernel": W})["kernel"], np.ones((3, 2)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: StuckCells(off=0.7, on=0.7), r"StuckCells.off \+ on = 1.4: must be at most 1"),
        (lambda: ProgrammingNoise(time_s=3.0), r"ProgrammingNoise.time_s = 3: must be at least 0 and at most 0"),
        (lambda: FreshChip(time_s="1 day", until_s="1 h"), r"FreshChip.time_s = 86400: .* less than until_s = 3600"),
        (lambda: Chain(modifiers=(AdditiveNoise(std=0.1),)), r"Chain.modifiers = .*: must be a tuple of two or more"),
        (lambda: Chain(modifiers=(Discretise(bits=4), "noise")), r"Chain.modifiers\[1\] = 'noise': must be one of"),
        (
            lambda: Chain(modifiers=(AdditiveNoise(std=0.1, draw="example"), Discretise(bits=4))),
            r"Chain.modifiers\[0\] = .*: only the last may draw for every example",
        ),
        (lambda: preset("reram", training=DeviceNoise(time_s="3 days")), r"Hardware.training: latest_s = 259200:"),
        (lambda: seen(DeviceNoise(), n=1, store=Crossbar(cell=SONOS())), r"SONOS: the mean and variance .* FreshChip"),
        (
            lambda: seen(DeviceNoise(), n=1, store=Crossbar(cell=PCM(), faults=Faults(stuck_off=0.1))),
            r"Crossbar.faults: must be None if only the mean and variance",
        ),
        (
            lambda: seen(DeviceNoise(), n=1, store=Crossbar(mapping=Offset())),
            r"Crossbar.mapping = Offset\(.*\): must have one column per output and no slices",
        ),
        (
            lambda: seen(
                AdditiveNoise(std=0.1, draw="example"), n=1,
                store=Crossbar(mapping=Differential(slices=BitSlices(widths=(4, 4)))),
            ),
            r"AdditiveNoise.draw = 'example': must be 'step' for Crossbar, which reads a weight by several columns",
        ),
        (
            lambda: seen(AdditiveNoise(std=0.1, draw="example"), n=1, sampling="cells"),
            r"AdditiveNoise.draw = 'example': must be 'step' with sampling = 'cells'",
        ),
        (
            lambda: layer(AdditiveNoise(std=0.1)).apply({"params": {"kernel": W}}, EYE),
            r"runs on 'custom' hardware and needs a random key",
        ),
        (
            lambda: seen(AdditiveNoise(std=0.1), n=1, store=MZIMesh()),
            r"Hardware.training = AdditiveNoise: must be FreshChip\(\) for a MZIMesh with a detector",
        ),
        (lambda: scaled_noise(-1.0), r"noise_scale = -1: must be at least 0"),
        (
            lambda: modified_weights(jax.random.key(0), {"kernel": W}, DeviceNoise()),
            r"modifier = DeviceNoise\(\): must be a weight modifier that draws once per step",
        ),
        (
            lambda: modified_weights(jax.random.key(0), {"kernel": W}, AdditiveNoise(std=0.1), noise_scale=-1),
            r"noise_scale = -1: must be at least 0",
        ),
    ],
)  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_what_draws_nothing_needs_no_key():
    y = jax.jit(layer(Discretise(bits=3)).apply)({"params": {"kernel": W}}, EYE)
    assert y.shape == (3, 2)


def test_a_larger_noise_scale_never_makes_more_than_all_weights_stuck():
    # off : on = 1 : 3. At a scale of 3 all but 0.1 % of the weights are stuck, in this ratio: mean 0.001 w, and the
    # second moment 0.001 w^2 + 0.999 x 3/4.
    stuck, w = StuckCells(off=0.1, on=0.3), np.float32([0.5, -0.2])
    moments = stuck.moments(w, np.ones(1, np.float32), 3.0)
    np.testing.assert_allclose(moments.mean, 0.001 * w, rtol=1e-3)
    np.testing.assert_allclose(moments.variance + moments.mean**2, 0.001 * w**2 + 0.999 * 0.75, rtol=1e-4)
    changed = np.asarray(stuck.changed(jax.random.key(0), np.full(10_000, 0.5, np.float32), np.ones(1), 3.0))
    for value, fraction in ((0.0, 0.25), (1.0, 0.375), (-1.0, 0.375)):
        assert abs(np.mean(changed == value) - fraction) < 4 * math.sqrt(fraction * (1 - fraction) / 10_000) + 1e-3
