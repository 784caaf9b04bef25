"""Energy, time and area of the analog hardware.

tile_work        tile_work, ACTIONS: actions of a layer's tiles, and the joules per action
analog_items     energy items of one layer: cells, word lines, converters, buffers, network
analog_memory    on-chip buffer and external memory
digital_unit     arithmetic that no analog layer does
analog_time      latency, and the energy spent while tiles wait
analog           breakdowns: all of the above as one energy breakdown per batch size
arrays, floorplan   AnalogArrays: number of tiles and cells, energy of programming them, area of their parts
adc, conversion_energy   published energy models of ADCs, and the range around the hardware's ADC
deployment       Deployment: programming and calibration, amortised over the chip's lifetime
differentiable   inference_j: joules per inference, differentiable by hardware, weights and inputs
"""

from analogsim.energy.chip.arrays import AnalogArrays as AnalogArrays
from analogsim.energy.chip.deployment import Deployment as Deployment
from analogsim.energy.chip.differentiable import inference_j as inference_j
from analogsim.energy.chip.tile_work import ACTIONS as ACTIONS
