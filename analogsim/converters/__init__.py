"""Data converters: DACs drive the rows of an array, ADCs digitise its columns.

protocol        interface of output converters: fabricate, convert
dac             DAC (amplitudes), PulseWidthDAC, BitSerialDAC: row drive for input codes
uniform         uniform ADC (mid-tread or mid-rise) with column-to-column gain and offset errors
circuit         common part of the circuit models: fields, column sharing, gradients
capacitor_dac   the binary-weighted capacitor DAC of ramp and SAR converters
ramp, sar       RampADC, SARADC
pipeline        PipelineADC, CyclicADC: 1.5 bits per stage
tabulated       TabulatedADC: thresholds and outputs from a table, fitted to data (lloyd_max)
quality         transfer curve, DNL and INL, errors in LSB, effective number of bits
ranges          rules for an ADC's range and bits that need no data
"""

from analogsim.converters.dac import DAC as DAC
from analogsim.converters.dac import BitSerialDAC as BitSerialDAC
from analogsim.converters.dac import PulseWidthDAC as PulseWidthDAC
from analogsim.converters.pipeline import CyclicADC as CyclicADC
from analogsim.converters.pipeline import PipelineADC as PipelineADC
from analogsim.converters.protocol import Converter as Converter
from analogsim.converters.ramp import RampADC as RampADC
from analogsim.converters.sar import SARADC as SARADC
from analogsim.converters.tabulated import TabulatedADC as TabulatedADC
from analogsim.converters.tabulated import lloyd_max as lloyd_max
from analogsim.converters.uniform import ADC as ADC
from analogsim.converters.uniform import quantise as quantise
