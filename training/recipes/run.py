"""Run a recipe: train a digital network, fine-tune it for its hardware, and evaluate both on chips over time."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax

from analogsim.base.equality import ByValue
from analogsim.base.errors import InputError
from analogsim.base.random import stream
from analogsim.chips.calibration import calibrate
from analogsim.chips.checkpoint import restore
from analogsim.chips.evaluation import checked_times, evaluate
from analogsim.hardware.presets import preset
from analogsim.models.convert import convert
from analogsim.training.clipping import clip_weights
from analogsim.training.fine_tune import FineTuned, fine_tune
from analogsim.training.recipes.datasets import Dataset, load
from analogsim.training.recipes.lifetime import NETWORKS
from analogsim.training.recipes.recipe import Recipe

if TYPE_CHECKING:
    import xarray

_CALIBRATED = 512  # examples of the training data


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Outcome(ByValue):
    """Result of ``run_recipe``.

    Attributes:
      recipe: the recipe that was run.
      data: the data set.
      model: the network on its hardware, as deployed.
      variables: calibrated variables of the ``"plain"`` and the ``"hardware-aware"`` network.
      results: ``score`` over (seed, network, compensation, chip, time) and ``digital`` over (seed, network).
      tuned: result of fine-tuning.
    """

    recipe: Recipe
    data: Dataset
    model: Any
    variables: dict[str, Any]
    results: "xarray.Dataset"
    tuned: FineTuned


def smoke(recipe: Recipe) -> Recipe:
    """Shorten a recipe to one epoch, two chips and 100 examples, for a smoke test; its accuracies mean nothing."""
    evaluation = recipe.evaluate.replace(chips=2, examples=min(100, recipe.evaluate.examples))
    return dataclasses.replace(recipe.shortened(epochs=1), evaluate=evaluation)


def _ignore(*_: Any) -> None:
    """Report nothing."""


def run_recipe(
    recipe: Recipe, *, key: jax.Array, on_stage: Callable[[str, int], Any] = _ignore,
    on_progress: Callable[[], Any] = _ignore,
) -> Outcome:  # fmt: skip
    """Train, fine-tune, calibrate and evaluate.

    Args:
      recipe: from ``load_recipe``.
      key: random key.
      on_stage: called at the start of every stage with its name and number of steps.
      on_progress: called after every step of a stage.

    Returns:
      networks and results.

    Raises:
      InputError: for data that is not installed, or settings that do not fit the data or the hardware.
    """
    import xarray

    checked_times(recipe.evaluate.times, [("(all)", recipe.hardware)])
    data = load(recipe.data.name)
    _check_batch(recipe.aware.batch_size, data, "aware")
    plain = recipe.model.factory()(data.classes)
    deployed = convert(plain, recipe.hardware)
    digital = digital_network(recipe, data, key=key, on_stage=on_stage, on_progress=on_progress)
    on_stage("hardware-aware", recipe.aware.epochs)
    tuned = aware_network(recipe, plain, digital, data, key=key, on_epoch=lambda *_: on_progress())

    sample, method = data.x[:_CALIBRATED], recipe.evaluate.calibration
    trained_ranges = recipe.aware.input_range in ("learned", "tracked")
    variables = {
        "plain": calibrate(deployed, digital, sample, method=method),
        "hardware-aware": calibrate(deployed, tuned.variables, sample, method=method, keep_inputs=trained_ranges),
    }
    scores = []
    x_test, labels = (a[: recipe.evaluate.examples] for a in (data.x_test, data.labels_test))
    for network in NETWORKS:
        on_stage(f"chips of the {network} network", recipe.evaluate.chips)
        network_scores = evaluate(
            deployed, variables[network], x_test, labels, key=stream(key, "chips"), chips=recipe.evaluate.chips,
            times=recipe.evaluate.times, compensation=recipe.evaluate.compensation,
            on_progress=lambda n: [on_progress() for _ in range(n)],
        )  # fmt: skip
        scores.append(network_scores)
    results = xarray.concat(scores, xarray.IndexVariable("network", list(NETWORKS))).expand_dims("seed")
    return Outcome(recipe, data, deployed, variables, results, tuned)


def _adam(settings: Any, examples: int) -> optax.GradientTransformation:
    steps = settings.epochs * (examples // settings.batch_size)
    return optax.adam(optax.cosine_decay_schedule(settings.learning_rate, max(steps, 1)))


def digital_network(
    recipe: Recipe, data: Dataset, *, key: jax.Array, on_stage: Callable[[str, int], Any] = _ignore,
    on_progress: Callable[[], Any] = _ignore,
) -> Any:  # fmt: skip
    """Return the plain network's variables, from the recipe's checkpoint or trained; see ``run_recipe``."""
    plain = recipe.model.factory()(data.classes)
    if recipe.model.checkpoint:
        return restore(recipe.model.checkpoint, plain).variables
    settings = recipe.digital
    _check_batch(settings.batch_size, data, "digital")
    on_stage("digital", settings.epochs)
    variables = plain.init(stream(key, "parameters"), jnp.asarray(data.x[:1]))
    trained = fine_tune(
        convert(plain, preset("ideal")), variables, data.x, data.labels, key=stream(key, "digital"),
        epochs=settings.epochs, batch_size=settings.batch_size, optimizer=_adam(settings, len(data.x)), distil=0.0,
        on_epoch=lambda *_: on_progress(),
    )  # fmt: skip
    return trained.variables


def aware_network(
    recipe: Recipe, plain: Any, digital: Any, data: Dataset, *, key: jax.Array,
    on_epoch: Callable[[int, float], Any] = _ignore,
) -> FineTuned:  # fmt: skip
    """Fine-tune the network ``plain`` with variables ``digital`` for the recipe's hardware."""
    settings = recipe.aware
    _check_batch(settings.batch_size, data, "aware")
    model = convert(plain, settings.on(recipe.hardware))
    start = calibrate(model, digital, data.x[:_CALIBRATED], method=recipe.evaluate.calibration)
    tx = _adam(settings, len(data.x))
    if settings.clip_sigmas:
        tx = optax.chain(tx, clip_weights(sigmas=settings.clip_sigmas))
    return fine_tune(
        model, start, data.x, data.labels, key=stream(key, "aware"), epochs=settings.epochs,
        batch_size=settings.batch_size, optimizer=tx, distil=settings.distil, temperature=settings.temperature,
        ramp=settings.ramp, micro_batches=settings.micro_batches, on_epoch=on_epoch,
    )  # fmt: skip


def _check_batch(batch_size: int, data: Dataset, section: str) -> None:
    if batch_size > len(data.x):
        raise InputError(f"[{section}] batch_size = {batch_size}: must be at most {len(data.x)} examples")
