"""The ranges of a layer's converters: calibrated, the converter's own, or derived from the programmed weights."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from analogsim.base.dtypes import to_rank
from analogsim.base.errors import InputError
from analogsim.converters import ADC
from analogsim.converters.ranges import full_scale_of, integer_steps
from analogsim.devices.protocol import WeightStore
from analogsim.signal_path.reading import Reading


class Ranges(NamedTuple):
    """The calibrated ranges of a layer; None for those that are not calibrated.

    Attributes:
      input: largest input that the DAC passes, in the units of x. None: each example's own largest value.
      output: largest output that the ADC passes, in fully driven cells: one number, or one a readout line
        ``[n_columns]``. None: the ADC's own range, else ``converters.ranges.full_scale_of`` what the tiles hold.
      weight: weight that takes all of a cell's window, relative to the largest of its column (or tile); those beyond it
        are clipped when they are programmed. None: 1.
      scale: digital factor of every output ``[n_out]``, or of every member of a stack ``[S, n_out]``; a part of the
        network, with which it computes digitally, too. None: 1.
      middle: what the ADC's range is about, like ``output``, which is then half its width. None: 0.

    Example:
      >>> from analogsim import DAC, Hardware
      >>> from analogsim.signal_path import multiply, program
      >>> from analogsim.signal_path.operators.stack import Vectors
      >>> hardware = Hardware(dac=DAC(bits=8))
      >>> reading, x = program(hardware, jnp.eye(2), None).read(0.0), jnp.array([2.0, 3.0])
      >>> multiply(hardware, reading, x, Vectors(), key=None, ranges=Ranges(input=2.0)).tolist()     # clips at 2
      [2.0, 2.0]
    """

    input: Any = None
    output: Any = None
    weight: Any = None
    scale: Any = None
    middle: Any = None


#: A layer without calibrated ranges.
UNCALIBRATED = Ranges()


def _check_output_range(reading: Reading, ranges: Ranges) -> None:
    n_columns = reading.mean.shape[-1]
    for name, value in (("range", ranges.output), ("middle of the range", ranges.middle)):
        given = () if value is None else jnp.shape(value)
        if given not in ((), (n_columns,)):
            raise InputError(
                f"output {name} of shape {given}: must be one number, or one for each of the tiles' {n_columns} "
                f"readout lines; calibrate again for this hardware"
            )


class Limits(NamedTuple):
    """The range of the ADCs, middle +- half, in fully driven cells; a middle of None is 0."""

    half: Any
    middle: Any = None

    def about(self, y: jax.Array, adc: ADC) -> tuple[jax.Array, Any]:
        """Return ``y`` relative to the middle of the range, and the middle, or None if it is 0."""
        if self.middle is None:
            return y, None
        middle = to_rank(integer_steps(adc, self.middle, self.half).astype(y.dtype), y.ndim)
        return y - middle, middle


def limits_of(adc: ADC, reading: Reading, ranges: Ranges) -> Limits:
    """Return the ADC range: calibrated, else the ADC's own, else derived from the programmed weights."""
    _check_output_range(reading, ranges)
    if ranges.output is not None or adc is None:
        return Limits(ranges.output, ranges.middle)
    if adc.range is not None:
        return Limits(adc.range, adc.middle)
    # A chip programmed for an ADC with its own range brings no automatic one for other converters.
    return Limits(full_scale_of(reading.mean) if reading.full_scale is None else reading.full_scale)


def largest_column_sum(store: WeightStore) -> jax.Array:
    """Return the largest column output if one row is driven fully."""
    return jnp.max(jnp.abs(store.ideal_columns(jnp.array([[1.0], [-1.0]]))))
