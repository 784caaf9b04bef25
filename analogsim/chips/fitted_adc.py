"""A non-uniform ADC fitted to the ADC inputs of a whole model."""

from typing import Any

import numpy as np

from analogsim.base.errors import InputError
from analogsim.base.types import PyTree
from analogsim.chips.adc_inputs import ForwardPasses, adc_inputs, checked_sample
from analogsim.chips.range_report import range_in_force
from analogsim.converters.tabulated import TabulatedADC

_PER_LAYER = 2**16  # samples per layer, the same number for every layer


def fit_adc(
    model: Any, variables: PyTree, x: Any, *, bits: int, batch_size: int | None = None, **options: Any
) -> TabulatedADC:
    """Fit the ADC of 2^bits codes with the smallest mean squared error over all ADC inputs of a model (Lloyd-Max).

    A chip has one kind of converter, so one table serves all layers; the ADC inputs of each layer are taken relative to
    its range, and all layers have the same weight. Codes are dense at frequent values, which are near zero for sums of
    many small products; at 4 bits that is worth half a bit to one bit over uniform steps in the same range. Calibrate
    ranges first, for this purpose by their largest values::

        calibrated = calibrate(model, variables, x, method="max")
        adc = fit_adc(model, calibrated, x, bits=4)
        better = convert(network, hardware.replace(adc=adc))      # runs with the same calibrated ranges

    Args:
      model, variables: a Linen model with analog layers and its variables from ``calibrate``, or an NNX model and None.
      x: representative inputs (``analogsim.Inputs``), ``[n, ...]`` each, or a list of batches of them.
      bits: resolution of the ADC, sign included.
      batch_size, **options: as in ``calibrate``.

    Returns:
      The ADC, without a range, for ``hardware.replace(adc=...)``.

    Raises:
      InputError: if no layer of the model has an ADC, ``x`` is empty or not finite, or ``bits`` is out of range.

    Example:
      >>> import jax
      >>> from analogsim import ADC, Hardware, calibrate
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=Hardware(adc=ADC(bits=4))), jax.random.normal(jax.random.key(0), (50, 4))
      >>> calibrated = calibrate(layer, layer.init(jax.random.key(1), x), x, method="max")
      >>> adc = fit_adc(layer, calibrated, x, bits=2)
      >>> adc.thresholds.shape, adc.levels.shape
      ((3,), (4,))
    """
    rng = np.random.default_rng(0)  # a fixed seed: the same data give the same table
    parts: dict[str, list[tuple[np.ndarray, int]]] = {}
    x, options = checked_sample(x, options)
    for uses in ForwardPasses(model, variables, x, batch_size, options, places=False).batches():
        converted = [use for use in uses if use.hardware.adc is not None]
        for use, chunks in adc_inputs(converted, lambda use: use.ranges):
            half, middle = (np.asarray(0.0 if a is None else a, np.float64) for a in range_in_force(use))
            for values in chunks:
                columns = values.reshape(len(values), -1, max(half.size, 1))
                relative = ((columns - middle) / half).ravel()
                kept = rng.choice(relative, min(relative.size, _PER_LAYER), replace=False)
                parts.setdefault(use.path, []).append((kept, relative.size))
    if not parts:
        raise InputError("the model has no layer with an ADC: build it on hardware that has one")
    pooled = [_drawn(samples, rng) for samples in parts.values()]
    return TabulatedADC.fit(np.concatenate(pooled), bits=bits, range=1.0).replace(range=None)


def _drawn(samples: list[tuple[np.ndarray, int]], rng: np.random.Generator) -> np.ndarray:
    """Draw ``_PER_LAYER`` values from samples, each with the number of values that it was drawn from."""
    values = np.concatenate([kept for kept, _ in samples])
    # A sample of a large batch stands for more values than it holds, and the last batch may be small.
    chances = np.concatenate([np.full(kept.size, size / kept.size) for kept, size in samples])
    # With replacement, so that layers with fewer values count as much as the others.
    return rng.choice(values, _PER_LAYER, p=None if np.all(chances == 1) else chances / chances.sum())
