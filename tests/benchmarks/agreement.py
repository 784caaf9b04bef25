"""Whether two programs compute the same, before their times are compared: mean, spread and clipped fraction of outputs.

Two sides agree if the means differ by at most ``MEAN`` of the reference's spread, the spreads by at most ``SPREAD`` of
it, the fractions of inputs beyond the converters' ranges by at most ``CLIPPED``, and the spreads of one output between
draws of the noise by at most ``NOISE`` of the reference's. What one side does not have is not compared.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from analogsim import calibrate, program

MEAN, SPREAD, CLIPPED, NOISE = 0.1, 0.1, 0.01, 0.25
TOLERANCE = (
    f"means within {MEAN:.0%} of the spread, spreads within {SPREAD:.0%}, "
    f"clipped fractions of inputs within {CLIPPED}, spreads between draws within {NOISE:.0%}"
)


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Statistics of a program's outputs.

    Attributes:
      mean: mean of all outputs.
      spread: standard deviation of all outputs.
      clipped: fraction of the layers' inputs beyond their ranges, mean over layers; None without ranges.
      noise: standard deviation of an output between draws, root mean square over outputs; None without draws.
    """

    mean: float
    spread: float
    clipped: float | None = None
    noise: float | None = None


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Outputs of two sides of a comparison.

    Attributes:
      item: name of the benchmark.
      name, beside: names of the two sides.
      ours, reference: their outputs.
    """

    item: str
    name: str
    beside: str
    ours: Outputs
    reference: Outputs

    @property
    def agree(self) -> bool:
        """Whether all differences are within the tolerance."""
        scale = self.reference.spread
        clipped = (self.ours.clipped, self.reference.clipped)
        noise = (self.ours.noise, self.reference.noise)
        return (
            abs(self.ours.mean - self.reference.mean) <= MEAN * scale
            and abs(self.ours.spread - scale) <= SPREAD * scale
            and (None in clipped or abs(clipped[0] - clipped[1]) <= CLIPPED)
            and (None in noise or abs(noise[0] - noise[1]) <= NOISE * noise[1])
        )


def outputs_of(y: Any) -> Outputs:
    """Mean and spread of an array."""
    return Outputs(float(jnp.mean(y)), float(jnp.std(y)))


def drawn_outputs(model: Any, variables: Any, x: jax.Array, draws: int = 4, clipped: float | None = None) -> Outputs:
    """Outputs of an analog model over several draws of its noise.

    Args:
      model: a converted Flax model.
      variables: its variables.
      x: inputs.
      draws: number of draws.
      clipped: fraction of inputs beyond their ranges.
    """
    run = jax.jit(lambda tree, x, key: model.apply(tree, x, rngs={"analog": key}))
    keys = jax.random.split(jax.random.key(7), draws)
    return _of_draws(jnp.stack([run(variables, x, key) for key in keys]), clipped)


def chip_outputs(model: Any, variables: Any, x: jax.Array, time: str, chips: int = 8) -> Outputs:
    """Outputs of several chips at one age, whose ``noise`` is the spread between chips.

    Args:
      model: a converted Flax model.
      variables: its variables.
      x: inputs.
      time: age of the chips.
      chips: number of chips. One has an error of its own in the mean of all outputs.
    """
    run = jax.jit(lambda tree, x, key: model.apply(tree, x, rngs={"analog": key}))
    keys = jax.random.split(jax.random.key(7), chips)
    made = [program(model, variables, key, x[:1]).at(time).variables for key in keys]
    return _of_draws(jnp.stack([run(chip, x, key) for chip, key in zip(made, keys, strict=True)]))


def _of_draws(y: jax.Array, clipped: float | None = None) -> Outputs:
    """Statistics of outputs whose first axis is draws."""
    noise = float(jnp.sqrt(jnp.var(y, axis=0, ddof=1).mean()))
    return Outputs(float(jnp.mean(y)), float(jnp.std(y)), clipped, noise)


def ranges_of(model: Any, variables: Any, x: jax.Array) -> tuple[Any, dict[str, float], float]:
    """Calibrate and report: variables, input ranges by layer, and the fraction of inputs beyond them.

    Args:
      model: a converted Flax model.
      variables: its variables.
      x: inputs.
    """
    calibrated, found = calibrate(model, variables, x, report=True)
    inputs = {row.layer: row.input_range for row in found if row.input_range is not None}
    return calibrated, inputs, sum(row.inputs_clipped for row in found) / max(len(found), 1)
