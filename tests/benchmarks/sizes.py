"""Energy, memory and depth: what grows with a model."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from analogsim import ChipScores, calibrate, convert, preset
from analogsim.energy import compare
from analogsim.sweeps.axes import axes_of
from analogsim.sweeps.block import Job, _capacity, _program
from analogsim.sweeps.evaluations import evaluation_of
from analogsim.sweeps.plan import SweepPlan
from analogsim.training.recipes.large_networks import AlexNet, ResNet50
from tests.benchmarks.lives import perceptron
from tests.benchmarks.networks import (
    HARDWARE,
    MLP,
    NETWORKS,
    DenseBlock,
    EncoderBlock,
    Stack,
    mean_square,
    step_of,
)
from tests.benchmarks.results import Curve, Results, Settings
from tests.benchmarks.steps import FRESH, NOISE, PLAIN, median, network
from tests.benchmarks.timing import (
    FirstCall,
    Row,
    Times,
    counted,
    first_call,
    first_rows,
    interleaved,
    seconds,
    trace_s,
)

MIB = 2.0**20


def energy(settings: Settings, results: Results) -> None:
    """``energy.compare`` by shapes only, the first time and again: ResNet-50 and AlexNet. Goal: under two seconds."""
    cases = {"MLP": (MLP(), (1, 784))}
    if not settings.quick:
        cases |= {"ResNet-50": (ResNet50(), (1, 224, 224, 3)), "AlexNet": (AlexNet(), (1, 227, 227, 3))}
    for name, (plain, shape) in cases.items():
        x = jax.ShapeDtypeStruct(shape, jnp.float32)
        model, variables = convert(plain, preset("pcm")), jax.eval_shape(plain.init, jax.random.key(0), x)

        def price(model=model, variables=variables, x=x):
            compare(model, variables, x)

        first_s, again_s = [], []
        with counted() as count:
            for _ in range(settings.first_repeats):
                jax.clear_caches()
                first_s.append(seconds(price))
        compilations = count.compilations / settings.first_repeats
        again_s = [seconds(price) for _ in range(settings.repeats)]
        results.rows += [
            Row("energy", f"{name}, first time", "s", tuple(first_s), at_most=2.0),
            Row("energy", f"{name}, compilations", "compilations", (compilations,), at_most=2.0),
            Row("energy", f"{name}, again", "s", tuple(again_s)),
        ]


def memory(settings: Settings, results: Results) -> None:
    """Temporaries and outputs, as XLA states them: of steps, of a sweep's chips, of a billion weights by shapes."""
    for name in ("mlp",) if settings.quick else NETWORKS:
        plain, shape, loss_of = network(name, settings)
        x = jax.random.normal(jax.random.key(0), shape)
        kinds = {PLAIN: None, NOISE: HARDWARE[NOISE](), FRESH: HARDWARE[FRESH]()}
        found = Times()
        for kind, hardware in kinds.items():
            step = step_of(plain, x, loss_of, hardware)
            found[kind] = [first_call(step.function, *step.args).bytes / MIB]
        results.rows += found.rows("memory", "MiB", PLAIN, {NOISE: 1.5}, f"step of {name}, {{}}")
    _memory_of_chips(settings, results)
    _memory_of_a_billion(settings, results)


def _memory_of_chips(settings: Settings, results: Results) -> None:
    """Temporaries of 100 chips at once beside 100 times those of one, by which a sweep chooses how many fit."""
    chips = 4 if settings.quick else 100
    model, variables, x, labels = perceptron(settings)
    hardware = preset("pcm")
    calibrated = calibrate(convert(model, hardware), variables, x[:200])
    evaluation = evaluation_of(ChipScores(model, calibrated, x, labels), True)
    targets = evaluation.targets(hardware)
    plan = SweepPlan(axes_of({"store.cell.programming_noise": [1.0]}, targets, ()), chips)
    key = jax.random.key(2)
    job = Job(evaluation, hardware, plan, np.asarray(jax.random.key_data(key)), str(jax.random.key_impl(key)), None)
    prepared = evaluation.prepare(hardware, plan.structure(0), key)
    columns = {name: jnp.asarray(column) for name, column in plan.columns().items()}

    def temporaries(at_once: int) -> float:
        capacity = _capacity(plan, at_once, 1)
        numbers = jnp.zeros(capacity, jnp.int32)
        run = _program(prepared, at_once, capacity, None)
        lowered = run.lower(prepared.operands, columns, job.key, None, numbers, numbers, jnp.int32(1))
        return lowered.compile().memory_analysis().temp_size_in_bytes / MIB

    raw, estimate = (temporaries(chips),), (chips * temporaries(1),)
    name = f"{chips} chips at once"
    results.rows.append(Row("memory", name, "MiB", raw, "the sweep's estimate", estimate, at_most=1.2, at_least=0.8))


def _memory_of_a_billion(settings: Settings, results: Results) -> None:
    """A step of 60 layers of 4096 x 4096 in ``nn.scan`` with ``nn.remat``: nothing is allocated, only compiled."""
    width, layers, batch = (16, 2, 4) if settings.quick else (4096, 60, 256)
    plain = Stack(DenseBlock, width, layers, scanned=True, remat=True)
    x = jax.ShapeDtypeStruct((batch, width), jnp.float32)
    variables = jax.eval_shape(plain.init, jax.random.key(1), x)
    number = sum(leaf.size for leaf in jax.tree.leaves(variables))
    found = Times()
    for kind, hardware in {PLAIN: None, NOISE: HARDWARE[NOISE]().replace(input_range=None)}.items():
        step = step_of(plain, x, mean_square, hardware, variables, calibrated=False)
        found[kind] = [first_call(step.function, *step.args).bytes / MIB]
    results.rows += found.rows("memory", "MiB", PLAIN, {NOISE: 1.3}, f"step of {number:,} weights, {{}}")


def depth(settings: Settings, results: Results) -> None:
    """A 24-layer encoder, 512 wide, in ``nn.scan`` and written out: first call of a step, trace time by layers."""
    width, deep, some = (16, 2, (1, 2)) if settings.quick else (512, 24, (6, 12, 24))
    x = jax.ShapeDtypeStruct((2, 8, width) if settings.quick else (8, 128, width), jnp.float32)
    kinds: dict[str, Any] = {PLAIN: None, NOISE: HARDWARE[NOISE]().replace(input_range=None)}
    for form, scanned in (("nn.scan", True), ("written out", False)):
        curve = Curve("depth", "layers", "seconds of tracing", {f"{kind}, {form}": [] for kind in kinds})
        found: dict[str, list[FirstCall]] = {kind: [] for kind in kinds}
        for layers in some:
            plain = Stack(EncoderBlock, width, layers, scanned)
            variables = jax.eval_shape(plain.init, jax.random.key(1), x)
            traced = Times({kind: [] for kind in kinds})
            steps = {kind: step_of(plain, x, mean_square, h, variables, calibrated=False) for kind, h in kinds.items()}
            for _ in range(settings.first_repeats):
                for kind, step in steps.items():
                    traced[kind].append(trace_s(step.function, *step.args))
                    if layers == deep:
                        found[kind].append(first_call(step.function, *step.args))
            for kind, values in traced.items():
                curve.points[f"{kind}, {form}"].append((layers, median(values)))
            results.rows += traced.rows(f"depth {form}", "s", PLAIN, title=f"{layers} layers, {{}}, trace")
        results.rows += first_rows(f"depth {form}", found, {"total_s": {NOISE: 2.5}})
        results.curves.append(curve)


def weights(settings: Settings, results: Results) -> None:
    """Time of a step of one square layer with 128 inputs against its number of weights, for the figure."""
    curve = Curve("scaling", "weights", "milliseconds a step", {PLAIN: [], NOISE: [], FRESH: []})
    for width in (8, 16) if settings.quick else (64, 128, 256, 512, 1024, 2048):
        plain = Stack(DenseBlock, width, 1, scanned=False)
        x = jax.random.normal(jax.random.key(0), (128, width))
        steps = {PLAIN: step_of(plain, x, mean_square, None)}
        for kind in (NOISE, FRESH):
            steps[kind] = step_of(plain, x, mean_square, HARDWARE[kind]())
        for kind, values in interleaved(steps, settings.repeats).items():
            curve.points[kind].append((width**2, median(values)))
    results.curves.append(curve)
