"""The systems that analog hardware can be compared with, by name.

int8 = digital_system("H100", number_format="int8", weights="bitmask")
compare(model, variables, x, systems=("H100", "H100:int8", int8, "Eyeriss", "brain"))
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

from analogsim.base.errors import InputError, brief, nearest
from analogsim.energy.breakdown import EnergyBreakdown
from analogsim.energy.machines import brain, digital, eyeriss, neuromorphic, photonic
from analogsim.energy.machines.compression import STORAGE, StorageFormat
from analogsim.energy.machines.digital_devices import Device, devices
from analogsim.energy.machines.number_formats import NumberFormat
from analogsim.energy.work.layer_work import Workload


@dataclasses.dataclass(frozen=True)
class System:
    """A system with an energy model.

    Attributes:
      name: name of the system in tables.
      breakdown: ``breakdown(work, batch)`` returns the energy breakdown of one inference, or raises
        ``ModelDoesNotFit``.

    Example:
      >>> import jax.numpy as jnp
      >>> from analogsim.energy import EnergyItem, workload
      >>> def breakdown(work, batch):
      ...     item = EnergyItem(component="core", action="multiply", count=work.macs, unit="MAC", unit_energy_j=1e-12,
      ...                       sources=())
      ...     return EnergyBreakdown(system="core", batch=batch, items=(item,), latency_s=None, note="", excludes="")
      >>> core = System("core", breakdown)     # for ``compare(..., systems=core)``
      >>> operations = workload(lambda w, x: x @ w, jnp.ones((4, 3)), jnp.ones((2, 4)), examples=2)
      >>> core.breakdown(Workload((), operations, other_parameters=12), 1).energy_typical_j     # 4 x 3 MAC, 1 pJ each
      1.2e-11
    """

    name: str
    breakdown: Callable[[Workload, int], EnergyBreakdown]


#: Systems by name.
SYSTEMS: dict[str, System] = {
    **{name: System(name, functools.partial(digital.breakdown, device)) for name, device in devices().items()},
    "Eyeriss": System("Eyeriss", eyeriss.breakdown),
    "photonic mesh": System("photonic mesh", functools.partial(photonic.breakdown, photonic.Mesh())),
    **{
        name: System(name, functools.partial(neuromorphic.breakdown, chip)) for name, chip in neuromorphic.CHIPS.items()
    },
    "brain": System("brain", functools.partial(brain.breakdown, brain.Brain())),
    "brain vesicles": System("brain vesicles", brain.vesicles),
}


def digital_system(
    device: str | Device,
    *,
    number_format: str | NumberFormat | None = None,
    weights: str | StorageFormat | None = None,
    name: str | None = None,
) -> System:
    """Return a digital system that computes in another number format, or stores its weights compressed.

    Args:
      device: name of a digital device (``energy.devices()``), or a ``Device``.
      number_format: format of all numbers, a name in ``energy.FORMATS`` or a ``NumberFormat``; None: the device's.
      weights: storage format of weights in memory, a name in ``energy.STORAGE`` or its value; None: uncompressed.
      name: name in tables; None: composed from the above.

    Raises:
      InputError: for an unknown device, format or storage.

    Example:
      >>> digital_system("H100", number_format="int8", weights="bitmask").name
      'H100 int8 bitmask'
    """
    if isinstance(device, str):
        if device not in devices():
            raise InputError(f"device: unknown device {device!r}; {nearest(device, devices())}")
        device = devices()[device]
    if isinstance(weights, str):
        if weights not in STORAGE:
            raise InputError(f"weights: unknown storage {weights!r}; {nearest(weights, STORAGE)}")
        weights = STORAGE[weights]
    chosen_format = None if number_format is None else digital.format_of(device, number_format)
    words = [device.name, "" if chosen_format is None else chosen_format.name, _storage_name(weights)]
    label = name or " ".join(word for word in words if word)
    model = functools.partial(digital.breakdown, device, number_format=chosen_format, weights=weights, name=label)
    return System(label, model)


Named = str | System | brain.Brain | neuromorphic.SpikingChip


def chosen(systems: Named | Iterable[Named]) -> list[System]:
    """Return the systems given by name, as a ``System``, ``Brain`` or ``SpikingChip``, without repetitions.

    Raises:
      InputError: for an unknown name, or two different systems with the same name.
    """
    if isinstance(systems, Named):
        systems = [systems]
    if not isinstance(systems, Iterable):
        raise InputError(f"systems = {brief(systems)}: must be names, for example ('H100', 'brain')")
    by_name: dict[str, System] = {}
    for named in systems:
        system = _system(named)
        if not isinstance(named, str) and system.name in by_name:
            raise InputError(f"systems: two have the name '{system.name}'; rename one of them")
        by_name[system.name] = system
    return list(by_name.values())


def _system(named: Any) -> System:
    if isinstance(named, System):
        return named
    if isinstance(named, brain.Brain):
        return System(named.name, functools.partial(brain.breakdown, named))
    if isinstance(named, neuromorphic.SpikingChip):
        return System(named.name, functools.partial(neuromorphic.breakdown, named))
    return _named(str(named))


def _named(full_name: str) -> System:
    if full_name in SYSTEMS:
        return SYSTEMS[full_name]
    name, *formats = full_name.split(":")
    if name in devices() and 1 <= len(formats) <= 2:
        return digital_system(name, number_format=formats[0] or None, weights=formats[1] if len(formats) == 2 else None)
    if full_name in neuromorphic.NO_EVENT_ENERGY:
        raise InputError(f"systems: {full_name!r} has no energy model: {neuromorphic.NO_EVENT_ENERGY[full_name]}")
    raise InputError(f"systems: unknown system {full_name!r}; {nearest(full_name, SYSTEMS)}")


def _storage_name(storage: StorageFormat | None) -> str:
    return next((name for name, entry in STORAGE.items() if entry == storage), "" if storage is None else "compressed")
