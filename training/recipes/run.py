"""A recipe carried out: a digital network, its hardware-aware continuation, and the life of both on sampled chips."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
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
    """What a recipe gave.

    Attributes:
      recipe: as it was carried out.
      data: the data set.
      model: the network on its hardware, as it is deployed.
      variables: of the plain and of the hardware-aware network, calibrated.
      results: ``score`` over (seed, network, compensation, chip, time) and ``digital`` over (seed, network).
      tuned: the record of fine-tuning.
    """

    recipe: Recipe
    data: Dataset
    model: Any
    variables: dict[str, Any]
    results: "xarray.Dataset"
    tuned: FineTuned


def smoke(recipe: Recipe) -> Recipe:
    """The recipe with hardly any training and few chips: its accuracies mean nothing."""
    few = recipe.evaluate.replace(chips=2, examples=min(100, recipe.evaluate.examples))
    return dataclasses.replace(recipe.shortened(epochs=1), evaluate=few)


def digital_network(recipe: Recipe, data: Dataset, *, key: jax.Array) -> Any:
    """The plain network's variables: from the recipe's checkpoint, or trained."""
    return _digital(recipe, recipe.model.factory()(data.classes), data, key, lambda *_: None, lambda: None)


def aware_network(recipe: Recipe, plain: Any, digital: Any, data: Dataset, *, key: jax.Array) -> FineTuned:
    """The plain network's variables, trained on for the recipe's hardware."""
    return _aware(recipe, plain, digital, data, key, lambda *_: None)


def run_recipe(
    recipe: Recipe, *, key: jax.Array, on_stage: Callable[[str, int], Any] | None = None,
    on_progress: Callable[[], Any] | None = None,
) -> Outcome:  # fmt: skip
    """Train, fine-tune, calibrate and measure.

    Args:
      recipe: from ``load_recipe``.
      key: everything random follows from it.
      on_stage: called with the name of every stage and how many steps it reports.
      on_progress: called at each of them.
    """
    import xarray

    stage, progress = on_stage or (lambda *_: None), on_progress or (lambda: None)
    checked_times(recipe.evaluate.times, [("(all)", recipe.hardware)])
    data = load(recipe.data.name)
    _check_batch(recipe.aware.batch_size, data, "aware")
    plain = recipe.model.factory()(data.classes)
    deployed = convert(plain, recipe.hardware)
    digital = _digital(recipe, plain, data, key, stage, progress)
    stage("hardware-aware", recipe.aware.epochs)
    tuned = _aware(recipe, plain, digital, data, key, lambda *_: progress())

    sample, method = data.x[:_CALIBRATED], recipe.evaluate.calibration
    keep = recipe.aware.input_range in ("learned", "tracked")
    variables = {
        "plain": calibrate(deployed, digital, sample, method=method),
        "hardware-aware": calibrate(deployed, tuned.variables, sample, method=method, keep_inputs=keep),
    }
    scores = []
    x_test, labels = (a[: recipe.evaluate.examples] for a in (data.x_test, data.labels_test))
    for network in NETWORKS:
        stage(f"chips of the {network} network", recipe.evaluate.chips)
        found = evaluate(
            deployed, variables[network], x_test, labels, key=stream(key, "chips"), chips=recipe.evaluate.chips,
            times=recipe.evaluate.times, compensation=recipe.evaluate.compensation,
            on_progress=lambda n: [progress() for _ in range(n)],
        )  # fmt: skip
        scores.append(found)
    results = xarray.concat(scores, xarray.IndexVariable("network", list(NETWORKS))).expand_dims("seed")
    return Outcome(recipe, data, deployed, variables, results, tuned)


def _adam(settings: Any, examples: int) -> optax.GradientTransformation:
    steps = settings.epochs * (examples // settings.batch_size)
    return optax.adam(optax.cosine_decay_schedule(settings.learning_rate, max(steps, 1)))


def _digital(recipe: Recipe, plain: Any, data: Dataset, key: jax.Array, stage: Any, progress: Any) -> Any:
    """The plain network's variables: from the checkpoint, or trained by the same loop on ideal hardware."""
    if recipe.model.checkpoint:
        return restore(recipe.model.checkpoint, plain).variables
    settings = recipe.digital
    _check_batch(settings.batch_size, data, "digital")
    stage("digital", settings.epochs)
    variables = plain.init(stream(key, "parameters"), jnp.asarray(data.x[:1]))
    trained = fine_tune(
        convert(plain, preset("ideal")), variables, data.x, data.labels, key=stream(key, "digital"),
        epochs=settings.epochs, batch_size=settings.batch_size, optimizer=_adam(settings, len(data.x)), distil=0.0,
        on_epoch=lambda *_: progress(),
    )  # fmt: skip
    return trained.variables


def _aware(recipe: Recipe, plain: Any, digital: Any, data: Dataset, key: jax.Array, on_epoch: Any) -> FineTuned:
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
        raise InputError(f"[{section}] batch_size = {batch_size}: must be at most {len(np.asarray(data.x))} examples")
