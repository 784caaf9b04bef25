"""Layers in Flax's transformations, shared layers, other entry points, and what wrong use is told."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import nnx
from flax.core import lift

import analogsim
from analogsim import InputError, calibrate, convert, observe, preset, program
from analogsim.linen import AnalogDense
from analogsim.models.bound import programmed_leaves
from analogsim.nnx import AnalogConv, AnalogLinear, on_chip

PCM, INT8 = preset("pcm"), preset("int8")
QUIET = PCM.replace(**{"store.cell.read_noise": 0.0, "adc.noise": None})
KEY = jax.random.key(0)
RNGS = {"analog": jax.random.key(9)}
X = np.random.default_rng(5).normal(size=(16, 4)).astype(np.float32)
EVERYTHING = {"params": 0, "analog": 0, "ranges": 0}


class Block(nn.Module):
    hardware: object = None

    @nn.compact
    def __call__(self, x, _):
        return nn.tanh(AnalogDense(4, hardware=self.hardware)(x)), None


class Scanned(nn.Module):
    """Two stacks of three layers, one behind the other."""

    hardware: object = None
    axes: object = None
    noise: bool = True
    shared: object = False

    @nn.compact
    def __call__(self, x):
        split = {"params": True, **({"analog": True} if self.noise else {})}
        for name in ("first", "second"):
            stack = nn.scan(
                Block, variable_axes=self.axes or EVERYTHING, variable_broadcast=self.shared, split_rngs=split, length=3
            )
            x, _ = stack(self.hardware, name=name)(x, None)
        return x


@pytest.fixture(scope="module")
def stacked():
    return jax.jit(Scanned(PCM).init)(KEY, X)


@pytest.fixture(scope="module")
def calibrated(stacked):
    return calibrate(Scanned(PCM), stacked, X, method="max")


def by_hand(variables, x):
    """Inputs of the six layers."""
    inputs = []
    for name in ("first", "second"):
        dense = variables["params"][name]["Dense_0"]
        for kernel, bias in zip(dense["kernel"], dense["bias"], strict=True):
            inputs.append(np.asarray(x))
            x = np.tanh(np.asarray(x) @ np.asarray(kernel) + np.asarray(bias))
    return inputs


def test_each_layer_of_a_scan_has_its_own_calibrated_range(stacked, calibrated):
    ranges = calibrated["ranges"]
    found = [ranges[name]["Dense_0"]["analog"]["input"][i] for name in ("first", "second") for i in range(3)]
    np.testing.assert_allclose(found, [np.abs(x).max() for x in by_hand(stacked, X)], rtol=1e-5)
    assert set(ranges) == {"sample", "first", "second"}


def test_the_ranges_of_a_scan_are_applied(stacked, calibrated):
    wide = jax.tree.map(lambda a: a, calibrated)
    for name in ("first", "second"):
        wide["ranges"][name]["Dense_0"]["analog"]["output"] = np.full(3, 1e4, np.float32)  # every line reads zero
    y = jax.jit(lambda v: Scanned(PCM).apply(v, X, rngs=RNGS))(wide)
    bias = np.asarray(stacked["params"]["second"]["Dense_0"]["bias"])[2]
    np.testing.assert_allclose(y, np.broadcast_to(np.tanh(bias), y.shape), atol=1e-6)


def test_a_scan_that_shares_its_ranges_takes_the_largest(stacked):
    model = Scanned(PCM, {"params": 0, "analog": 0}, True, "ranges")
    ranges = calibrate(model, stacked, X, method="max")["ranges"]
    largest = max(np.abs(x).max() for x in by_hand(stacked, X)[:3])
    assert float(ranges["first"]["Dense_0"]["analog"]["input"]) == pytest.approx(largest, rel=1e-5)


def test_observed_paths_are_those_of_the_variables(stacked):
    assert [use.path for use in observe(Scanned(PCM), stacked, X)] == ["first/Dense_0"] * 3 + ["second/Dense_0"] * 3


def test_a_scan_that_passes_on_parameters_alone_passes_all_on(stacked):
    """What is not named goes along axis 0, and each step has a key of its own, as by the author's own recipe."""

    @jax.jit
    def run(v, x):
        found = []
        for model in (Scanned(PCM), Scanned(PCM, {"params": 0}, False)):
            chip = program(model, v, KEY, x)
            found.append((chip.readings, model.apply(chip.variables, x, rngs=RNGS)))
        return found

    by_author, by_itself = run(stacked, X)
    assert jax.tree.map(np.shape, by_author) == jax.tree.map(np.shape, by_itself)
    layers = np.asarray(by_itself[0]["first"]["Dense_0"]["analog"]["array"].reading.mean)
    assert np.abs(np.corrcoef(layers.reshape(3, -1)) - np.eye(3)).max() < 0.9  # three arrays, of 16 weights each
    ranges = calibrate(Scanned(PCM, {"params": 0}, False), stacked, X, method="max")["ranges"]
    assert ranges["first"]["Dense_0"]["analog"]["input"].shape == (3,)


def test_a_scan_that_nothing_arrives_in_is_told_all_at_once(stacked):
    model = Scanned(PCM, {"params": 0}, False)
    before = lift.scan
    try:
        lift.scan = lift.scan.__wrapped__  # as of a transformation that was made before the library was imported
        for call in (
            lambda: model.apply(stacked, X, rngs=RNGS),
            lambda: calibrate(model, stacked, X),
            lambda: program(model, stacked, KEY, X),
        ):
            with pytest.raises(
                InputError, match=r"first/Dense_0.*variable_broadcast=.*'analog': 0, 'ranges': 0.*'chip'"
            ):
                call()
    finally:
        lift.scan = before


@pytest.mark.parametrize("by_author", [False, True])
def test_a_recurrent_network_is_one_chip_and_one_set_of_ranges(by_author):
    """All steps share chip and ranges, each has its own read noise; with the recipe of analogsim.linen, too."""
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    recipe = dict(
        variable_broadcast=["params", "analog", "ranges"], split_rngs={"params": False, "analog": True, "chip": False}
    )
    network = nn.Sequential([nn.RNN(nn.SimpleCell(4), **(recipe if by_author else {}))])
    model, v = convert(network, PCM), jax.jit(network.init)(KEY, x)
    calibrated = calibrate(model, v, x, method="max")
    assert float(calibrated["ranges"]["layers_0"]["cell"]["i"]["analog"]["input"]) == pytest.approx(
        np.abs(x).max(), rel=1e-6
    )

    def on_a_chip(v):
        chip = program(model, v, KEY)
        return chip.cells, model.apply(chip.variables, x, rngs=RNGS)

    cells, y = jax.eval_shape(on_a_chip, calibrated)
    assert {p.scale.shape for _, p in programmed_leaves(cells)} == {(1, 1, 1, 4)}
    assert y.shape == (2, 5, 4)

    # Equal inputs at every step, no recurrence: equal outputs exactly if the steps share a chip without read noise.
    @jax.jit
    def without_recurrence(v, x):
        v["params"]["layers_0"]["cell"]["h"]["kernel"] *= 0.0
        models = (convert(network, [(".*/i", hardware), (".*", None)]) for hardware in (QUIET, PCM))
        return [m.apply(v, x, rngs=RNGS) for m in models]

    y, noisy = (np.asarray(a) for a in without_recurrence(v, np.broadcast_to(x[:, :1], x.shape)))
    np.testing.assert_allclose(y, np.broadcast_to(y[:, :1], y.shape), atol=1e-6)
    assert np.abs(noisy - noisy[:, :1]).max() > 1e-3


def test_a_layer_used_twice_in_a_call_is_one_fresh_chip():
    class Twice(nn.Module):
        hardware: object

        @nn.compact
        def __call__(self, x):
            shared = AnalogDense(4, hardware=self.hardware)
            return shared(x), shared(x)

    @jax.jit
    def run(x):
        v = Twice(None).init(KEY, x)
        return [Twice(hardware).apply(v, x, rngs=RNGS) for hardware in (QUIET, PCM)]

    quiet, noisy = run(X)
    np.testing.assert_array_equal(*quiet)
    assert np.abs(noisy[0] - noisy[1]).max() > 0  # the reads differ


class Coder(nn.Module):
    def setup(self):
        self.encoder = nn.Dense(3)
        self.decoder = nn.Dense(4)

    def __call__(self, x):
        return self.decode(self.encode(x))

    def encode(self, x):
        return self.encoder(x)

    def decode(self, z):
        return self.decoder(z)


def test_other_methods_of_a_converted_model():
    coarse = convert(Coder(), preset("int8", **{"store.bits": 2}))

    @jax.jit
    def encode(v, x):
        exact = Coder().apply(v, x, method="encode")
        expected = coarse.apply(v, x, method=lambda m, x: m(x, method="encode"))
        return exact, expected, (
            coarse.apply(v, x, method="encode"),
            coarse.apply(v, x, method=Coder.encode),
            coarse.apply(v, x, method=lambda m, x: m.encode(x)),
            coarse.bind(v).encode(x),
        )  # fmt: skip

    v = jax.jit(Coder().init)(KEY, X)
    exact, expected, others = encode(v, X)
    assert np.abs(expected - exact).max() > 0.05  # it is converted
    for encoded in others:
        np.testing.assert_array_equal(encoded, expected)
    init = jax.eval_shape(lambda x: coarse.init(KEY, x, method=Coder.encode), X)
    assert set(init["params"]) == {"encoder"}
    with pytest.raises(AttributeError, match="nothing"):
        coarse.bind(v).nothing  # noqa: B018
    with pytest.raises(InputError, match="is already converted"):
        convert(coarse, PCM)


def test_an_example_of_zeros_reads_zero():
    """Without calibration an example's range is its own: as inputs fade, so does the noise, down to none."""
    v = {"params": {"kernel": np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)}}
    layer = nn.Dense(6, use_bias=False, dot_general_cls=analogsim.linen.dot_general_hook(PCM))
    x = np.repeat(np.array([[0.0], [1e-6], [1e-3]], np.float32), 8, axis=1)
    chip = program(layer, v, KEY, x)

    def run(x):
        y = layer.apply(chip.variables, x, rngs=RNGS)
        return y.sum(), y

    gradient, y = jax.jit(jax.grad(run, has_aux=True))(x)
    np.testing.assert_allclose(y[0], 0.0, atol=1e-11)  # a few times the converters' noise times 2^-40
    assert 0 < np.abs(y[1]).max() < 1e-4
    assert np.isfinite(gradient).all()


class Stack(nnx.Module):
    """Three layers made by nnx.vmap and run by nnx.scan."""

    def __init__(self, rngs):
        @nnx.split_rngs(splits=3)
        @nnx.vmap(in_axes=(0,), out_axes=0)
        def make(rngs):
            return AnalogLinear(4, 4, hardware=PCM, rngs=rngs)

        self.layers = make(rngs)

    def __call__(self, x):
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def run(x, layer):
            return nnx.relu(layer(x))

        return run(x, self.layers)


def test_stacked_nnx_layers():
    run = nnx.jit(lambda model, x: model(x))
    model = nnx.jit(Stack)(nnx.Rngs(0))
    exact = run(nnx.view(model, mode="digital"), X)
    calibrate(model, None, X, method="max")
    kernels, biases = (np.asarray(a[...]) for a in (model.layers.kernel, model.layers.bias))
    inputs, x = [], X
    for kernel, bias in zip(kernels, biases, strict=True):
        inputs.append(np.abs(x).max())
        x = np.maximum(x @ kernel + bias, 0)
    np.testing.assert_allclose(model.layers.dot_general.input_range.get_value(), inputs, rtol=1e-5)
    np.testing.assert_allclose(exact, x, rtol=1e-5, atol=1e-6)  # sums of four products in float32
    # Calibrated ranges are new arrays of the model, and so another program: equal to a few roundings of three layers.
    again = run(nnx.view(model, mode="digital"), X)
    np.testing.assert_allclose(again, exact, rtol=1e-5, atol=1e-6)  # the model is intact

    chip = program(model, key=jax.random.key(1))
    assert {p.scale.shape for _, p in programmed_leaves(chip.cells)} == {(3, 1, 1, 1, 4)}
    held = np.asarray(chip.at(0.0, compensation="none").readings["layers"].reading.mean)[:, 0, 0]
    scale = np.abs(kernels).max(1, keepdims=True)
    assert np.abs(held - kernels / scale).max() < 0.4  # each layer holds its own kernel
    y, again = (run(on_chip(model, chip, key=jax.random.key(2)), X) for _ in range(2))
    np.testing.assert_array_equal(y, again)
    assert 0 < np.abs(y - exact).max() < 1.0


def test_nnx_says_what_is_wrong():
    model = AnalogLinear(4, 3, hardware=PCM, rngs=nnx.Rngs(0))
    chip = jax.eval_shape(lambda key: program(model, key=key), KEY)
    for call, message in (
        (lambda: AnalogLinear(4, 3, hardware=PCM, rngs=0), r"rngs = 0: must be nnx.Rngs"),
        (lambda: AnalogConv(4, 3, (3,), hardware=PCM, rngs=0), r"rngs = 0: must be nnx.Rngs"),
        (lambda: convert(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), PCM, rngs=3), r"rngs = 3: must be nnx.Rngs"),
        (lambda: on_chip(model, 3), "chip = 3: must be a chip"),
        (lambda: on_chip(3, 3), "model = int: must be a flax.nnx module"),
        (lambda: on_chip(model, chip, key=3), "key = 3: must be a random key"),
        (lambda: calibrate(model, None, np.ones((2, 5))), "it has 5 features, the kernel takes 4"),
    ):
        with pytest.raises(InputError, match=message):
            call()


KERNEL = {"params": {"kernel": np.ones((4, 3), np.float32), "bias": np.zeros(3, np.float32)}}


@pytest.mark.parametrize(
    ("x", "how", "message"),
    [
        (X * np.nan, {}, "x holds NaN or infinity"),
        (np.where(np.eye(16, 4), np.inf, X), {}, "x holds NaN or infinity"),
        (X[:0], {}, r"x has shape \(0, 4\): must hold at least one example"),
        ("a", {}, "x = str: must be an array of numbers"),
        (X, {"quantile": "a"}, "quantile = 'a': must be at least 0.5"),
        (X, {"quantile": None}, "quantile = None: must be"),
        (X, {"quantile": True}, "quantile = True: must be"),
        (X, {"margin": "a"}, "margin = 'a': must be finite and at least 1"),
        (X, {"margin": float("inf")}, "margin = inf: must be finite"),
        (X, {"margin": float("nan")}, "margin = nan: must be finite"),
        (X, {"method": "percentil"}, "did you mean 'percentile'"),
        (X, {"method": ["max"]}, "method = "),
        (X, {"batch_size": 0}, "batch_size = 0: must be an integer"),
    ],
)
def test_calibration_refuses_what_means_nothing(x, how, message):
    with pytest.raises(InputError, match=message):
        calibrate(AnalogDense(3, hardware=INT8), KERNEL, x, **how)


def test_calibration_refuses_weights_that_are_not_finite_and_takes_lists_and_integers():
    layer, v = AnalogDense(3, hardware=INT8), KERNEL
    with pytest.raises(InputError, match=r"layer \(the model itself\): its kernel holds NaN"):
        calibrate(layer, jax.tree.map(lambda a: a * np.nan, v), X)
    ranges = calibrate(layer, v, X.tolist(), quantile=1)["ranges"]["analog"]
    assert float(ranges["input"]) == pytest.approx(np.abs(X).max(), rel=1e-6)
