"""Chips and their lives beside as many plain forward passes: W5, sweep, readings, and the calls that lead there."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from analogsim import ChipScores, DynamicRange, calibrate, convert, evaluate, preset, program, sweep
from analogsim.cli.quickstart import MLP as DigitsMLP
from analogsim.training.recipes.networks import MLP
from tests.benchmarks.agreement import Agreement, chip_outputs, outputs_of
from tests.benchmarks.networks import NETWORKS
from tests.benchmarks.peers import Peers
from tests.benchmarks.results import Curve, Results, Settings
from tests.benchmarks.steps import PLAIN, median, network
from tests.benchmarks.timing import Row, Times, counted, interleaved, seconds

CHIPS, LEVELS = 25, (0.0, 0.5, 1.0, 1.5, 2.0)
AGES = ("1 s", "10 s", "1 min", "10 min", "1 h", "6 h", "1 day", "30 day", "1 year", "10 year")


def perceptron(settings: Settings) -> tuple[Any, Any, jax.Array, jax.Array]:
    """The MLP of W5, its variables, images and labels: 784-512-256-10 and 2,000 of them."""
    n, features, hidden = (20, 16, (8,)) if settings.quick else (2000, 784, (512, 256))
    x, labels = jax.random.uniform(jax.random.key(0), (n, features)), jnp.arange(n) % 10
    model = MLP(10, hidden=hidden)
    return model, model.init(jax.random.key(1), x[:1]), x, labels


def passes(model: Any, variables: Any, x: jax.Array, number: int) -> Callable[[], jax.Array]:
    """As many plain forward passes, called one after the other."""
    apply = jax.jit(model.apply)

    def run():
        for _ in range(number):
            y = jax.block_until_ready(apply(variables, x))
        return y

    return run


def w5(settings: Settings, results: Results) -> None:
    """25 PCM chips of the MLP read at ten ages on 2,000 images, beside as many plain forward passes."""
    chips, ages = (2, AGES[:2]) if settings.quick else (CHIPS, AGES)
    model, variables, x, labels = perceptron(settings)
    hardware = preset("pcm", input_range=DynamicRange(), drift_compensation="none", **{"adc.range": 12.0})
    analog = convert(model, hardware)
    ours = f"{chips} chips at {len(ages)} ages"

    def run():
        return evaluate(
            analog, variables, x, labels, key=jax.random.key(2), chips=chips, times=ages
        ).score.values  # fmt: skip

    plain = passes(model, variables, x, chips * len(ages))
    repeats = settings.repeats
    peers = Peers("w5", "ages", variables["params"], x, {}, repeats, ("aihwkit",))
    times = interleaved({PLAIN: plain, ours: run}, repeats, (lambda: None) if settings.quick else peers.run)
    results.rows += times.rows("w5", "ms", PLAIN)
    results.rows += peers.rows(ours, times[ours], {}, times=chips)
    # Without compensation the outputs of an old chip are smaller: only a new one's are those of plain Flax.
    new, old = (chip_outputs(analog, variables, x, age) for age in (ages[0], ages[-1]))
    results.agreements.append(Agreement("w5", ages[0], PLAIN, new, outputs_of(jax.jit(model.apply)(variables, x))))
    results.agreements += peers.agreements(ages[-1], old)
    results.add_peers(peers)


def sweeps(settings: Settings, results: Results) -> None:
    """25 chips x 10 ages x 5 noise levels of the MLP on 2,000 images, beside as many plain passes, as users call it."""
    chips, ages, levels = (2, AGES[:2], LEVELS[:2]) if settings.quick else (CHIPS, AGES, LEVELS)
    model, variables, x, labels = perceptron(settings)
    hardware = preset("pcm")
    calibrated = calibrate(convert(model, hardware), variables, x[:200])
    scores = ChipScores(model, calibrated, x, labels)
    over = {"store.cell.programming_noise": list(levels), "time": list(ages)}
    number = chips * len(ages) * len(levels)
    ours = f"sweep of {number} evaluations (compiled anew)"

    def run():
        return sweep(scores, hardware, over=over, chips=chips, key=jax.random.key(2), progress=False).score.values

    with counted() as count:
        seconds(run)
    repeats = settings.repeats
    peers = Peers("sweep", "ages", variables["params"], x, {}, repeats, ("aihwkit",))
    functions = {PLAIN: passes(model, variables, x, number), ours: run}
    times = interleaved(functions, repeats, (lambda: None) if settings.quick else peers.run, warm=False)
    results.rows += times.rows("sweep", "ms", PLAIN, {ours: 1.8})
    results.rows.append(Row("sweep", "compilations of one sweep", "compilations", (float(count.compilations),)))
    results.rows += peers.rows(ours, times[ours], {"aihwkit": 2.5}, times=chips * len(levels))
    analog = convert(model, hardware)
    reference = outputs_of(jax.jit(model.apply)(variables, x))
    results.agreements.append(Agreement("sweep", "1 s", PLAIN, chip_outputs(analog, calibrated, x, ages[0]), reference))
    results.add_peers(peers)


def readings(settings: Settings, results: Results) -> None:
    """100 chips x 6 ages of the digits network on 450 images, beside 600 plain forward passes in one program."""
    chips, n = (2, 20) if settings.quick else (100, 450)
    x, labels = jax.random.normal(jax.random.key(0), (n, 64)), jnp.zeros(n, jnp.int32)
    model, plain = DigitsMLP(preset("pcm")), DigitsMLP(None)
    variables = calibrate(model, model.init(jax.random.key(1), x), x)
    ages = AGES[:6]
    number = jnp.arange(chips * len(ages))
    # Each pass has an input of its own, so that none can be left out.
    many = jax.jit(lambda v, x: jax.lax.map(lambda i: plain.apply(v, x + 1e-3 * i).sum(), number))
    params = {"params": variables["params"]}
    ours = f"{len(number)} readings of {chips} chips"
    times = interleaved(
        {
            PLAIN: lambda: many(params, x),
            ours: lambda: evaluate(
                model, variables, x, labels, key=jax.random.key(0), chips=chips, times=ages
            ).score.values,
        },
        settings.repeats,
    )  # fmt: skip
    results.rows += times.rows("readings", "ms", PLAIN, {ours: 4.0})
    new = chip_outputs(model, variables, x, "1 s")
    results.agreements.append(
        Agreement(
            "readings",
            "1 s",
            PLAIN,
            new,
            outputs_of(plain.apply(params, x)),
        )
    )


def calls(settings: Settings, results: Results) -> None:
    """First calls of calibrate, program, chip.at and evaluate beside that of the analog forward pass."""
    for name in ("mlp",) if settings.quick else NETWORKS:
        plain, shape, _ = network(name, settings)
        x = jax.random.normal(jax.random.key(0), shape)
        variables = plain.init(jax.random.key(1), x)
        analog = convert(plain, preset("pcm"))
        calibrated = calibrate(analog, variables, x)
        chip = program(analog, calibrated, jax.random.key(2), x[:1])
        key, read = jax.random.key(3), chip.at("1 day").variables

        def score(outputs, labels):
            return jnp.mean((outputs - labels) ** 2)

        labels = jnp.zeros_like(jax.jit(plain.apply)(variables, x))
        tasks = {
            "forward pass of a chip": lambda: jax.jit(analog.apply)(read, x, rngs={"analog": key}),  # noqa: B023
            "calibrate": lambda: calibrate(analog, variables, x),  # noqa: B023
            "program": lambda: program(analog, calibrated, key, x[:1]).variables,  # noqa: B023
            "chip.at": lambda: chip.at("1 h").variables,  # noqa: B023
            "evaluate": lambda: evaluate(
                analog, calibrated, x, labels, key=key, chips=2, times=["1 s", "1 day"], metric=score  # noqa: B023
            ).score.values,
        }  # fmt: skip
        times, counts = Times({task: [] for task in tasks}), Times({task: [] for task in tasks})
        for _ in range(settings.first_repeats):
            for task, function in tasks.items():
                jax.clear_caches()
                with counted() as count:
                    times[task].append(seconds(function))
                counts[task].append(float(count.compilations))
        item, forward = f"calibrate {name}", "forward pass of a chip"
        results.rows += times.rows(item, "s", forward, {task: 2.0 for task in tasks}, "{}, first call")
        results.rows += [
            Row(item, f"{task}, compilations", "compilations", tuple(c), at_most=None if task == forward else 2.0)
            for task, c in counts.items()
        ]


def scaling(settings: Settings, results: Results) -> None:
    """Cost of evaluation against the number of chips (at three ages) and of ages (of four chips), for the figure."""
    x = jax.random.normal(jax.random.key(0), (20 if settings.quick else 450, 64))
    labels = jnp.zeros(len(x), jnp.int32)
    model, plain = DigitsMLP(preset("pcm")), DigitsMLP(None)
    variables = calibrate(model, model.init(jax.random.key(1), x), x)
    params = {"params": variables["params"]}

    def run(chips: int, ages: int) -> jax.Array:
        times = [float(t) for t in jnp.geomspace(1.0, 1e8, ages)]
        return evaluate(model, variables, x, labels, key=jax.random.key(0), chips=chips, times=times).score.values

    sizes = {"chips": ("seconds, 3 ages", lambda n: (n, 3)), "ages": ("seconds, 4 chips", lambda n: (4, n))}
    for size, (cost, counts) in sizes.items():
        curve = Curve("scaling", size, cost, {PLAIN: [], "evaluate": []})
        for number in (1, 2) if settings.quick else (1, 4, 16, 64, 256):
            chips, ages = counts(number)
            functions = {
                PLAIN: passes(plain, params, x, chips * ages),
                "evaluate": lambda chips=chips, ages=ages: run(chips, ages),
            }
            for name, values in interleaved(functions, settings.repeats).items():
                curve.points[name].append((number, 1e-3 * median(values)))
        results.curves.append(curve)
