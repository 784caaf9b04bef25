"""One converter with steps that are not uniform, fitted to what the lines of a whole model carry."""

from typing import Any

import numpy as np

from analogsim.base.errors import InputError
from analogsim.chips.adc_inputs import ForwardPasses, adc_input_values, checked_sample
from analogsim.chips.range_report import range_in_force
from analogsim.converters.tabulated import TabulatedADC

_OF_A_LAYER = 2**16  # values at most, so that no layer outweighs the others by its size


def fit_adc(
    model: Any, variables: Any, x: Any, *, bits: int, batch_size: int | None = None, **options: Any
) -> TabulatedADC:
    """The converter of 2^bits codes with the least mean squared error over what all ADCs of a model see.

    A chip has one kind of converter, so one table serves all layers: each layer's lines count relative to its range,
    and as much as those of any other. Fitted codes stand where values are frequent, which for lines of many small
    products is near zero; at 4 bits that is worth half a bit to one beside even steps over the same range. Calibrate
    ranges first, here by their largest values::

        calibrated = calibrate(model, variables, x, method="max")
        adc = fit_adc(model, calibrated, x, bits=4)
        better = convert(network, hardware.replace(adc=adc))      # runs with the same calibrated ranges

    Args:
      model, variables: a Linen model with analog layers and its variables, of ``calibrate``, or an NNX model and None.
      x: representative inputs (``analogsim.Inputs``), ``[n, ...]`` each.
      bits: of the converter, sign included.
      batch_size, **options: as of ``calibrate``.

    Returns:
      The converter, without a range of its own: ``hardware.replace(adc=...)``.

    Raises:
      InputError: for a model none of whose layers has an ADC.
    """
    rng = np.random.default_rng(0)  # thins out the same way every time
    parts: dict[str, list[np.ndarray]] = {}
    x, options = checked_sample(x, options)
    for use in ForwardPasses(model, variables, x, batch_size, options, places=False):
        if use.hardware.adc is None:
            continue
        half, middle = (np.asarray(0.0 if a is None else a, np.float64) for a in range_in_force(use))
        for values in adc_input_values(use, use.ranges):
            lines = values.reshape(len(values), -1, max(half.size, 1))
            flat = ((lines - middle) / half).ravel()
            parts.setdefault(use.path, []).append(rng.choice(flat, min(flat.size, _OF_A_LAYER), replace=False))
    if not parts:
        raise InputError("the model has no layer with an ADC: build it on hardware that has one")
    pooled = [rng.choice(np.concatenate(found), _OF_A_LAYER) for found in parts.values()]
    return TabulatedADC.fit(np.concatenate(pooled), bits=bits, range=1.0).replace(range=None)
