"""Every kind of ADC, without and with imperfections, and their methods as one compiled program a kind."""

import functools

import jax
import numpy as np

from analogsim import ADC
from analogsim.converters import SARADC, CyclicADC, PipelineADC, RampADC, TabulatedADC

#: Every circuit without imperfections.
IDEAL = {
    "ramp": RampADC(bits=6),
    "unsigned ramp": RampADC(bits=6, signed=False),
    "SAR": SARADC(bits=6),
    "unsigned SAR": SARADC(bits=6, signed=False),
    "split SAR": SARADC(bits=6, split=True),
    "unsigned split SAR": SARADC(bits=6, split=True, signed=False),
    "pipeline": PipelineADC(bits=6),
    "cyclic": CyclicADC(bits=6),
    "uniform": ADC(bits=6, style="mid-rise"),
    "tabulated": TabulatedADC(
        thresholds=np.arange(-31, 32, dtype=np.float32) / 32, levels=np.arange(-63, 64, 2, dtype=np.float32) / 64
    ),
}
WRONG = dict(bits=6, capacitor_mismatch=0.02, comparator_offset=0.02, amplifier_gain_db=45.0)
#: Every family with everything wrong that it knows of.
REAL = {
    "ramp": RampADC(**WRONG),
    "SAR": SARADC(**WRONG, sharing=2),
    "split SAR": SARADC(**WRONG, split=True),
    "pipeline": PipelineADC(**WRONG, parasitic_capacitance=0.5),
    "cyclic": CyclicADC(**WRONG, sharing=2),
    "mid-tread": ADC(bits=6, gain_error=0.02, offset_error=0.5),
    "mid-rise": ADC(bits=6, style="mid-rise", gain_error=0.02, offset_error=0.5),
}


@jax.jit
def convert(adc, y, bound, state):
    return adc.convert(y, bound, state)


@functools.partial(jax.jit, static_argnames="n_columns")
def fabricate(adc, key, n_columns=4):
    return adc.fabricate(key, n_columns)
