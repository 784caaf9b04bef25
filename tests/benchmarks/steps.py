"""W1 to W4 and first calls: one product, and training steps of three networks, beside plain Flax and peers."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np

from analogsim import DynamicRange, convert, preset, program
from analogsim.training.recipes.networks import MLP as SmallMLP
from tests.benchmarks.agreement import Agreement, drawn_outputs, outputs_of, ranges_of
from tests.benchmarks.networks import HARDWARE, NETWORKS, Step, step_of
from tests.benchmarks.peers import Peers
from tests.benchmarks.results import Results, Settings
from tests.benchmarks.timing import FirstCall, first_call, first_rows, interleaved

PLAIN, NOISE, FRESH = "plain Flax", "weight noise", "fresh chip"

#: Limits of the time of a step over the plain one.
STEP_AT_MOST = {"w2": {NOISE: 1.7, FRESH: 3.0}, "w3": {NOISE: 1.1}, "w4": {NOISE: 1.15}}
#: How much longer a peer's step must take than ours with weight noise.
PEER_AT_LEAST: dict[str, dict[str, float]] = {"w2": {}, "w3": {}, "w4": {"aihwkit-lightning": 1.3}}
FIRST_AT_MOST = {NOISE: 2.5, "device noise": 3.0, FRESH: 4.0}
OPERATIONS_AT_MOST = {"mlp": 8.0, "cnn": 4.0, "transformer": 6.0}


def network(name: str, settings: Settings) -> tuple[nn.Module, tuple[int, ...], Any]:
    """A network, the shape of its input and its loss; a tiny one in a quick run."""
    plain, shape, loss_of, _ = NETWORKS[name]
    return (SmallMLP(4, hidden=(8,)), (4, 16), loss_of) if settings.quick else (plain, shape, loss_of)


def w1(settings: Settings, results: Results) -> None:
    """Product of 256 vectors with 1024 x 1024 weights: 512 x 512 tiles, 8 bits, each vector with its own range."""
    n, batch = (64, 8) if settings.quick else (1024, 256)
    x = jax.random.normal(jax.random.key(0), (batch, n))
    layer = nn.Dense(n, use_bias=False)
    variables = layer.init(jax.random.key(1), x)
    analog = convert(layer, preset("pcm", input_range=DynamicRange(), **{"adc.range": 12.0}))
    chip = program(analog, variables, jax.random.key(2), x)
    # At the drift law's reference time: later, drift compensation enlarges the converters' noise with the signal.
    read, quiet = (chip.at("20 s", read_noise=noise).variables for noise in (True, False))
    plain = jax.jit(layer.apply)
    run = jax.jit(lambda tree, x, key: analog.apply(tree, x, rngs={"analog": key}))
    key = jax.random.key(3)
    converters, both = "converters and their noise", "converters and read noise"
    functions = {
        PLAIN: lambda: plain(variables, x),
        converters: lambda: run(quiet, x, key),
        both: lambda: run(read, x, key),
    }
    peers = Peers("w1", "w1", variables["params"], x, {}, settings.repeats, ("aihwkit",))
    times = interleaved(functions, settings.repeats, _between(peers, settings))
    reference = outputs_of(functions[PLAIN]())
    for name in (converters, both):
        results.agreements.append(Agreement("w1", name, PLAIN, outputs_of(functions[name]()), reference))
    results.agreements += peers.agreements(converters, drawn_outputs(analog, quiet, x))
    results.rows += times.rows("w1", "ms", PLAIN, {both: 1.6})
    results.rows += peers.rows(converters, times[converters], {})
    results.add_peers(peers)


def training_step(item: str, settings: Settings, results: Results) -> None:
    """A hardware-aware step with every way of seeing the hardware, beside plain Flax and peers."""
    name = {"w2": "mlp", "w3": "cnn", "w4": "transformer"}[item]
    plain, shape, loss_of = network(name, settings)
    x = jax.random.normal(jax.random.key(0), shape)
    variables = plain.init(jax.random.key(1), x)
    kinds = HARDWARE if item == "w2" else {kind: made for kind, made in HARDWARE.items() if kind != FRESH}
    steps: dict[str, Step] = {PLAIN: step_of(plain, x, loss_of, None, variables)}
    for kind, made in kinds.items():
        steps[kind] = step_of(plain, x, loss_of, made(), variables)
    noisy = convert(plain, HARDWARE[NOISE]())
    calibrated, ranges, clipped = ranges_of(noisy, variables, x)
    peers = Peers(item, name, variables["params"], x, ranges, settings.repeats)
    times = interleaved(steps, settings.repeats, _between(peers, settings))
    ours = drawn_outputs(noisy, calibrated, x, clipped=clipped)
    reference = outputs_of(jax.jit(plain.apply)(variables, x))
    results.agreements.append(Agreement(item, NOISE, PLAIN, ours, reference))
    results.agreements += peers.agreements(NOISE, ours)
    results.rows += times.rows(item, "ms", PLAIN, STEP_AT_MOST[item])
    results.rows += peers.rows(NOISE, times[NOISE], PEER_AT_LEAST[item])
    results.add_peers(peers)


def w2(settings: Settings, results: Results) -> None:
    """Training step of an MLP 784-512-256-10 at batch 128."""
    training_step("w2", settings, results)


def w3(settings: Settings, results: Results) -> None:
    """Training step of a ResNet-8 on 64 images of 32 x 32 x 3."""
    training_step("w3", settings, results)


def w4(settings: Settings, results: Results) -> None:
    """Training step of a transformer block, 512 wide, on 8 x 128 tokens."""
    training_step("w4", settings, results)


def first(settings: Settings, results: Results) -> None:
    """First calls of the steps: trace, lower and compile, size of the program, number of compilations."""
    kinds = {kind: made for kind, made in HARDWARE.items() if kind in FIRST_AT_MOST}
    for name in ("mlp",) if settings.quick else NETWORKS:
        plain, shape, loss_of = network(name, settings)
        x = jax.random.normal(jax.random.key(0), shape)
        variables = plain.init(jax.random.key(1), x)
        steps = {PLAIN: step_of(plain, x, loss_of, None, variables)}
        for kind, made in kinds.items():
            steps[kind] = step_of(plain, x, loss_of, made(), variables)
        found: dict[str, list[FirstCall]] = {kind: [] for kind in steps}
        for _ in range(settings.first_repeats):
            for kind, step in steps.items():
                found[kind].append(first_call(step.function, *step.args))
        limits = {"total_s": FIRST_AT_MOST, "operations": {NOISE: OPERATIONS_AT_MOST[name]}}
        results.rows += first_rows(f"first {name}", found, limits)


def _between(peers: Peers, settings: Settings):
    """What runs between two rounds."""
    return (lambda: None) if settings.quick else peers.run


def median(values: list[float]) -> float:
    """Median."""
    return float(np.median(values))
