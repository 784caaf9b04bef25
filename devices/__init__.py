"""``analogsim.devices``: what holds a weight. Physics only; knows nothing of Flax, layers or training.

protocol     what every weight store promises: program, read, noise, cost
crossbar     resistive cells (PCM, ReRAM), the differential mapping, the array
digital      digital memory, exact or rounded
description  frozen, validated descriptions that are JAX pytrees
units        "25 uS" and "1 day" at the border, SI inside
random       named noise streams
"""

from .crossbar import PCM as PCM
from .crossbar import Crossbar as Crossbar
from .crossbar import Differential as Differential
from .crossbar import ReRAM as ReRAM
from .description import describe as describe
from .description import description as description
from .description import field as field
from .description import static as static
from .digital import DigitalMemory as DigitalMemory
from .errors import InputError as InputError
from .protocol import Action as Action
from .protocol import Moments as Moments
from .protocol import WeightStore as WeightStore
