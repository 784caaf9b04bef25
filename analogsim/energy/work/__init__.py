"""The work of a model, independent of any system: operations, bytes and passes through analog layers. No joules.

tracing       workload: count the operations of any JAX function from its jaxpr
operations    Operations, Operation: the counted operations, with their shapes
primitives    arithmetic per JAX primitive
layer_work    Workload, LayerWork, count: the work of a model with analog layers
traffic       plan: bytes between a chip and its external memory
"""

from analogsim.energy.work.layer_work import LayerWork as LayerWork
from analogsim.energy.work.layer_work import Workload as Workload
from analogsim.energy.work.layer_work import count as count
from analogsim.energy.work.operations import Operation as Operation
from analogsim.energy.work.operations import Operations as Operations
from analogsim.energy.work.tracing import workload as workload
from analogsim.energy.work.traffic import plan as plan
