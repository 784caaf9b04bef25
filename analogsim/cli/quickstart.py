"""``analogsim quickstart``: the main job end to end, on real handwritten digits, in about a minute.

A 64-64-10 network is trained twice from the same initial weights, digitally and hardware-aware. Each is programmed onto
100 sampled PCM chips that are read from 1 s to 10 years after programming, with and without drift compensation. The
energy per inference is compared with a GPU, Eyeriss and the brain. Writes ``report.html`` and ``results.nc``.

This file is also an example of how to use the library: data, model, training loop, chips, energy, figures.
"""

import dataclasses
import functools
import time
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import analogsim
from analogsim import Hardware, calibrate, cite, evaluate, preset, report
from analogsim.base import files, netcdf
from analogsim.base.description import describe
from analogsim.base.errors import InputError
from analogsim.chips.evaluation import LIFETIME
from analogsim.energy import page as energy_page
from analogsim.linen import AnalogDense
from analogsim.training import clip_weights
from analogsim.training.recipes.lifetime import NETWORKS, lifetime_json, lifetime_table, table_rows, verdict

COMPENSATIONS = ("none", "global")


class MLP(nn.Module):
    """A 64-64-10 classifier of digits; ``hardware=None`` gives the plain digital network."""

    hardware: Hardware | None

    @nn.compact
    def __call__(self, x):
        x = nn.relu(AnalogDense(64, hardware=self.hardware)(x))
        return AnalogDense(10, hardware=self.hardware)(x)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Sizes of the quickstart: training, networks, chips, test images."""

    epochs: int = 40
    batch: int = 32
    learning_rate: float = 3e-3
    networks: int = 3
    chips: int = 100
    test_images: int = 450


#: The smoke test trains too briefly for its accuracies to mean anything; the report says so.
FAST = Settings(epochs=4, networks=1, chips=8, test_images=200)


def load_digits() -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Return scikit-learn's digits, 1,797 images of 8 x 8 with pixels in [0, 1]; a stratified quarter is for testing.

    Returns:
      x_train ``[1347, 64]``, y_train ``[1347]``, x_test ``[450, 64]``, y_test ``[450]``.
    """
    from sklearn import datasets, model_selection

    x, y = datasets.load_digits(return_X_y=True)
    parts = model_selection.train_test_split(x / 16, y, test_size=0.25, random_state=0, stratify=y)
    x_train, x_test, y_train, y_test = (jnp.asarray(p) for p in parts)
    return x_train.astype(jnp.float32), y_train, x_test.astype(jnp.float32), y_test


def optimizer(settings: Settings, steps: int, aware: bool) -> optax.GradientTransformation:
    """Return Adam with a cosine schedule; hardware-aware training also clips weights at two standard deviations."""
    adam = optax.adam(optax.cosine_decay_schedule(settings.learning_rate, steps))
    return optax.chain(adam, clip_weights(sigmas=2.0)) if aware else adam


@functools.partial(jax.jit, static_argnums=(0, 1))
def train(model: MLP, settings: Settings, x: jax.Array, y: jax.Array, key: jax.Array) -> Any:
    """Train and return the parameters; an analog model computes every step on a new chip, drawn from the step's key."""
    n_batches = len(x) // settings.batch
    tx = optimizer(settings, settings.epochs * n_batches, aware=model.hardware is not None)
    params = model.init(jax.random.fold_in(key, 0), x[:1])["params"]

    def loss(params, images, labels, chip_key):
        logits = model.apply({"params": params}, images, rngs={"analog": chip_key})
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def step(carry, batch):
        params, state = carry
        indices, chip_key = batch
        gradients = jax.grad(loss)(params, x[indices], y[indices], chip_key)
        updates, state = tx.update(gradients, state, params)
        return (optax.apply_updates(params, updates), state), None

    def epoch(carry, epoch_key):
        order_key, chips_key = jax.random.split(epoch_key)
        order = jax.random.permutation(order_key, len(x))[: n_batches * settings.batch]
        batches = order.reshape(n_batches, settings.batch), jax.random.split(chips_key, n_batches)
        return jax.lax.scan(step, carry, batches)

    epochs = jax.random.split(jax.random.fold_in(key, 1), settings.epochs)
    (params, _), _ = jax.lax.scan(epoch, (params, tx.init(params)), epochs)
    return params


def run(
    *, out: Path, fast: bool = False, chips: int | None = None, networks: int | None = None, key: int = 0,
    as_json: bool = False,
) -> Path:  # fmt: skip
    """Run the quickstart and return the path of the report.

    Args:
      out: folder for ``report.html`` and ``results.nc``; created if missing.
      fast: smoke test of a few seconds; its accuracies are meaningless.
      chips, networks: numbers of chips and networks; override the defaults.
      key: random seed.
      as_json: print JSON to standard output, and tables to standard error.
    """
    from rich.console import Console

    started = time.perf_counter()
    settings = FAST if fast else Settings()
    for name, value in (("chips", chips), ("networks", networks)):
        if value is not None:
            if value < 1:
                raise InputError(f"--{name} {value}: must be at least 1")
            settings = dataclasses.replace(settings, **{name: value})
    folder = files.output_folder(out)
    console = Console(stderr=as_json)

    hardware = preset("pcm", **{"training.time_s": "1 month"})
    data = load_digits()
    results, variables = _measure(hardware, settings, data, key, console)
    breakdown = analogsim.energy.compare(MLP(hardware), variables, data[2][: settings.test_images])

    energy_table = breakdown.table()
    energy_table.caption = None  # the report says what each energy breakdown includes and excludes
    console.print(lifetime_table(results, fast, "digits"), energy_table)
    console.print(verdict(results, fast, "test digits"))
    results.attrs |= {
        "key": key,
        "hardware": describe(hardware),
        "settings": repr(settings),
        "analogsim": analogsim.__version__,
    }
    files.write(folder / "results.nc", netcdf.content(results), "--out ")
    page = write_report(folder / "report.html", results, breakdown, hardware, settings, fast)
    if as_json:
        print(lifetime_json(results, page))
    console.print(f"Wrote {page} and {folder / 'results.nc'} in {time.perf_counter() - started:.0f} s")
    return page


def _measure(hardware, settings, data, key, console):
    """Return scores over (seed, network, compensation, chip, time) and the last hardware-aware network's variables."""
    import xarray
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    x_train, y_train, x_test, y_test = data
    x_test, y_test = x_test[: settings.test_images], y_test[: settings.test_images]
    analog = MLP(hardware)
    columns = (TextColumn("{task.description:44}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    per_seed, variables = [], None
    with Progress(*columns, console=console) as progress:
        training = progress.add_task("training", total=settings.networks * len(NETWORKS))
        sampling = progress.add_task("sampling chips", total=settings.networks * len(NETWORKS) * settings.chips)
        for seed in range(settings.networks):
            seed_key = jax.random.fold_in(jax.random.key(key), seed)
            per_network = []
            for network, model in zip(NETWORKS, (MLP(None), analog), strict=True):
                progress.update(training, description=f"training: {network}, start {seed + 1}")
                params = jax.block_until_ready(train(model, settings, x_train, y_train, seed_key))
                progress.advance(training)
                variables = calibrate(analog, {"params": params}, x_train[:500])
                progress.update(sampling, description=f"sampling chips: {network}, start {seed + 1}")
                scores = evaluate(
                    analog,
                    variables,
                    x_test,
                    y_test,
                    key=jax.random.fold_in(seed_key, 2),
                    chips=settings.chips,
                    times=LIFETIME,
                    compensation=COMPENSATIONS,
                    on_progress=lambda n: progress.advance(sampling, n),
                )
                per_network.append(scores)
            per_seed.append(xarray.concat(per_network, xarray.IndexVariable("network", list(NETWORKS))))
    return xarray.concat(per_seed, "seed"), variables


def write_report(path: Path, results: Any, breakdown: Any, hardware: Hardware, settings: Settings, fast: bool) -> Path:
    """Write the HTML page: summary, figures, tables, hardware, what is and is not modelled."""
    from analogsim import plot

    n = results.sizes["chip"] * results.sizes["seed"]
    header = ["network", "drift compensation", "digital", *LIFETIME]
    sections = [
        ("In short", report.paragraph(verdict(results, fast, "test digits"))),
        (
            "Accuracy over ten years",
            report.figure(
                functools.partial(plot.drift, results, percent=True),
                "Accuracy of plain and hardware-aware networks from 1 second to 10 years after programming",
                f"Lines: means over {n} sampled PCM chips. Bands: the middle 90 % of the chips of each solid line, "
                f"that is with global drift compensation; dashed lines have no band. Dotted: the digital networks.",
                phone=(3.6, 5.2),
            )
            + report.table(header, table_rows(results), "Accuracy in %, mean ± standard deviation over chips", (0, 1)),
        ),
        (
            "Energy of one inference",
            report.figure(
                functools.partial(plot.energy, breakdown),
                "Energy of one inference on analog hardware, GPU, Eyeriss and the brain",
                size=(10.4, 3.6),
            )
            + energy_page.tables(breakdown.breakdowns, breakdown.work, breakdown.unsupported),
        ),
        ("Hardware", report.preformatted(describe(hardware)) + report.preformatted(cite(hardware).text)),
        ("What is and is not modelled", _scope(settings)),
    ]
    made_with = f"analogsim {analogsim.__version__}, key {results.attrs['key']}"
    lead = f"1,797 handwritten digits on phase-change memory ({made_with})"
    text = report.page("analogsim quickstart", lead, sections)
    return files.write(path, text, "--out ")


def _scope(settings: Settings) -> str:
    return report.bullets(
        [
            "Modelled: programming error, drift with device-to-device variation of the exponent, 1/f read noise, 8-bit "
            "converters with calibrated ranges and noise, differential pairs, tiles, global drift compensation.",
            "Not modelled: wire resistance, stuck cells, temperature, non-linear current-voltage curves, the energy of "
            "control, network and leakage.",
            f"Both networks are trained for {settings.epochs} epochs with Adam from the same initial weights. "
            "The hardware-aware one computes every step on a new chip read one month after programming, and clips "
            "its weights at two standard deviations.",
            f"{settings.test_images} test images: one image is {100 / settings.test_images:.2f} points.",
        ]
    )
