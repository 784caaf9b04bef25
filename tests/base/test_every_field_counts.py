"""Every number of every store, cell, converter and price, varied one at a time, changes something.

What may change: what is held and read (mean, variance, one sample), the noise of detection, the actions that are paid
for, joules, time, area, or whether a rule of several fields refuses it. A field that changes nothing in one of these
hosts says in its description when it counts (``counts``); there is no other list of exceptions.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import ADC, DAC, EnergyTable, Hardware, InputError, preset, presets
from analogsim.base.field_rules import rule_of
from analogsim.converters import SARADC, CyclicADC, PipelineADC, PulseWidthDAC, RampADC
from analogsim.devices import (
    CELLS,
    AtomicMemory,
    Cavity,
    Crossbar,
    DelayLine,
    Description,
    Differential,
    DigitalMemory,
    FadingLight,
    Faults,
    GenericCell,
    MZIMesh,
    OpticalPCM,
    PhaseShifter,
    PhotonicTensorCore,
    RingBank,
    Wires,
    WriteVerify,
)
from analogsim.energy import compare
from analogsim.linen import AnalogDense
from analogsim.signal_path import Ranges, multiply, program
from analogsim.signal_path.operators.stack import Vectors
from tests.base.test_every_description import lowest_and_highest
from tests.support.descriptions import MEASURED

WEIGHTS = np.random.default_rng(0).uniform(-1, 1, (4, 3)).astype(np.float32)
X = np.random.default_rng(1).uniform(-1, 1, (200, 4)).astype(np.float32)

QUIET = GenericCell(g_min="1 uS", programming_sigma=0.0)
STORES = {
    **{name: preset(name).store for name in presets() if name != "ideal"},
    "open rings": RingBank(locking="open"),
    "film with levels of equal ratio that drifts": PhotonicTensorCore(
        film=OpticalPCM(spacing="log", levels=8, drift=0.01, drift_std=0.01), read_noise=0.01
    ),
    "heaters set by voltage": MZIMesh(shifter=PhaseShifter(coding="voltage", noise_rad=0.01)),
    "delay line": FadingLight(medium=DelayLine(), rows=4, dark_counts=1.0),
    "cavity": FadingLight(medium=Cavity(), rate_hz=1e5, rows=4, dark_counts=1.0),
    "atoms": FadingLight(medium=AtomicMemory(modes=2.0), rate_hz=1e6, rows=4, dark_counts=1.0),
    "faults": Crossbar(
        cell=QUIET,
        faults=Faults(
            stuck_on=0.2,
            stuck_off=0.2,
            stuck_at=0.2,
            stuck_at_conductance=2e-6,
            off_conductance=1e-6,
            device_variation=0.1,
        ),
    ),
    "wires": Crossbar(cell=QUIET, wires=Wires(word_line_ohm=100.0, bit_line_ohm=100.0)),
    "loop": Crossbar(
        cell=QUIET,
        mapping=Differential(sides=2),
        write_verify=WriteVerify(window=1e-6, pulse_noise_floor=1e-6, pulse_noise=0.1, read_noise=0.5e-6, max_pulses=4),
    ),
}
MAKE = {name: make for name, make in CELLS.items() if name not in ("generic", "measured")}
LAWS = {f"generic, {law}": GenericCell(g_min="1 uS", error=law, programming_sigma=0.05, drift_mean=0.05,
                                       drift_std=0.02, read_noise=0.05, spectrum="1/f",
                                       sigma_conductance=None if law == "proportional" else 20e-6)
        for law in ("independent", "proportional", "inverse")}  # fmt: skip
ALL_CELLS = {**{name: make() for name, make in MAKE.items()}, **LAWS, 
             "measured": MEASURED.replace(sigma=MEASURED.sigma / 2e5),
             "warm flash": CELLS["flash"](temperature=330.0),
             "cmo, exact": CELLS["cmo"](acceptance=0.002), "ecram, down": CELLS["ecram"](approach="down")}  # fmt: skip
CONVERTERS = {
    "uniform": Hardware(
        dac=DAC(bits=8, noise=0.02), adc=ADC(bits=9, range=2.0, noise=0.01, gain_error=0.05, offset_error=1.0)
    ),
    "pulse width": Hardware(dac=PulseWidthDAC(bits=8, noise=0.02), adc=ADC(bits=9, style="mid-rise")),
    **{kind.__name__: Hardware(adc=kind()) for kind in (SARADC, RampADC, PipelineADC, CyclicADC)},
}


def numbers(item: Description, prefix: str = ""):
    """Dotted name, field and value of every number of a description; those in tuples with their index."""
    for f in dataclasses.fields(item):
        value = getattr(item, f.name)
        if isinstance(value, Description):
            yield from numbers(value, f"{prefix}{f.name}.")
        elif not rule_of(f).is_static and value is not None:
            several = value if isinstance(value, tuple) else (value,)
            for i, one in enumerate(several):
                yield prefix + f.name, i if isinstance(value, tuple) else None, f, one


def others(f: dataclasses.Field, value):
    """Two other numbers that the field takes, a smaller and a larger one where it has both."""
    ends = lowest_and_highest(rule_of(f))
    low, high = ends.get("lowest", -np.inf), ends.get("highest", np.inf)
    if np.ndim(value):
        return [value * 0.8, value * 1.25]
    if rule_of(f).integer:
        return [v for v in (value // 2, value + 1, value - 1) if low <= v <= high][:2]
    tried = [value * 0.8, value * 1.25, value + 0.01] if value else [0.01, 1e-7]
    return [v for v in tried if low <= v <= high][:2]


def changed(item: Description, name: str, index: int | None, value) -> Description:
    if index is None:
        return item.replace(**{name: value})
    found = functools.reduce(getattr, name.split("."), item)
    return item.replace(**{name: tuple(value if i == index else v for i, v in enumerate(found))})


def dead(item: Description, effects, prefix: str = "", skip: str = "\0") -> list[str]:
    """Numbers that change nothing, and are not refused beside the others, though they do not say when they count."""
    cases = [case for case in numbers(item) if not case[0].startswith(skip)]
    plain = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), item)
    leaves, structure = jax.tree.flatten(plain)
    kept = [c for c in numbers(plain)]
    assert len(kept) == len(leaves)
    rows = []
    for name, index, f, value in cases:
        place = next(i for i, c in enumerate(kept) if (c[0], c[1]) == (name, index))
        for number in (*others(f, value), *others(f, value))[:2]:  # twice the same where there is but one
            rows.append([np.float32(number) if i == place else leaf for i, leaf in enumerate(leaves)])
    stack = [np.stack(column) for column in zip(leaves, *rows, strict=True)]
    out = jax.tree.leaves(effects(jax.tree.unflatten(structure, stack)))
    silent = []
    for number, (name, index, f, value) in enumerate(cases):
        both = (2 * number + 1, 2 * number + 2)
        if any(not np.array_equal(a[0], a[i], equal_nan=True) for a in map(np.asarray, out) for i in both):
            continue
        if not rule_of(f).counts and not refused_beside_others(item, name, index, f, value):
            silent.append(f"{prefix}{name}{'' if index is None else f'[{index}]'}")
    return silent


def refused_beside_others(item, name, index, f, value) -> bool:
    """Whether a rule of several fields refuses another number, that the field's own limits allow."""
    ends = lowest_and_highest(rule_of(f))
    for tried in (value * 1e-3, value * 1e3, value * 1e-6):
        if ends.get("lowest", -np.inf) <= tried <= ends.get("highest", np.inf):
            try:
                changed(item, name, index, tried)
            except InputError:
                return True
    return False


@jax.jit
@jax.vmap
def of_a_store(store):
    """What a store holds early and late, one sample, the noise of its detection, and what it is charged for."""
    key = jax.random.key(3)
    state = store.program(key, WEIGHTS)
    limit = store.time_limit_s
    late_s = 3e-5 if getattr(store, "destructive_read", False) else 1e5
    late_s = late_s if limit is None else jnp.minimum(late_s, limit)
    held = [store.read(state, t) for t in (0.0, late_s, late_s / 2)]
    noise = store.noise(X, X @ WEIGHTS, state)
    pulses = getattr(state, "pulses", None)
    cost = [action.quantity * 1.0 for action in store.cost(WEIGHTS, 0.3)]
    times = [getattr(store, name, 0.0) for name in ("read_time_s", "cell_write_j", "time_limit_s")]
    times += [store.media(3)] if hasattr(store, "media") else []
    return held, store.read(state, late_s, key), noise, pulses, cost, times


#: What takes seconds to compile.
SLOW = ("mzi-mesh", "heaters set by voltage", "wires", "loop", "quantum-register")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in STORES if name not in ("pcm", "reram")],
)
def test_every_number_of_a_store_counts(name):
    # Cells have a test of their own.
    skip = "cell." if name in ("wires", "loop", "faults") else "\0"
    assert dead(STORES[name], of_a_store, skip=skip) == []


@jax.jit
@jax.vmap
def of_a_cell(cell):
    key = jax.random.key(3)
    targets = jnp.linspace(0.0, 1.0, 400) * (cell.g_max - cell.g_min) + cell.g_min
    state = cell.program(key, targets)
    limit = cell.time_limit_s
    last_s = 1e5 if limit is None else limit
    # Between the times of a table of measured ages, every one of which counts in one of these.
    held = [cell.read(state, last_s * share, key if share == 0.7 else None) for share in (0.0, 1e-3, 0.3, 0.7, 1.0)]
    currents = None
    if hasattr(cell, "current_coefficients"):
        square, cubic = cell.current_coefficients(targets)
        currents = (square * cell.read_voltage_v, cubic * cell.read_voltage_v**2)
    return targets, state, held, cell.programming_error(targets), currents


@pytest.mark.parametrize("name", ALL_CELLS)
def test_every_number_of_a_cell_counts(name):
    assert dead(ALL_CELLS[name], of_a_cell) == []


@jax.jit
@jax.vmap
def of_converters(hardware):
    key = jax.random.key(3)
    reading = program(hardware, 0.2 * WEIGHTS, key).read(0.0)
    return multiply(hardware, reading, X, Vectors(), key=key, ranges=Ranges())


@pytest.mark.parametrize("name", CONVERTERS)
def test_every_number_of_a_converter_counts(name):
    hardware = CONVERTERS[name].replace(store=DigitalMemory(bits=12))
    assert dead(hardware, of_converters, skip=("energy_table.", "training")) == []


#: Hardware whose breakdown is looked at, first where most prices count.
BILLS = [
    preset("pcm"),
    preset("ring-bank"),
    preset("quantum-register"),
    preset("int8", rows=2),
    preset("pcm", rows=2),
    preset("pcm", **{"energy_table.adc_model": "median", "energy_table.adc_enob": 7.0}),
    Hardware(store=DigitalMemory(bits=8), dac=DAC(), adc=ADC()),
]


def billed(hardware):
    """Joules, seconds, square metres and joules of writing of one layer beside a digital one."""
    found = compare(AnalogDense(3, hardware=hardware), VARIABLES, X, systems=(), batch=1)
    breakdown, held = found.hardware, found.arrays
    bands = (breakdown.energy_low_j, breakdown.energy_typical_j, breakdown.energy_high_j, breakdown.latency_s)
    return bands + (() if held is None else (held.area_m2, held.write_energy_j, held.calibration_energy_j))


VARIABLES = {"params": {"kernel": WEIGHTS, "bias": np.zeros(3, np.float32)}}


@functools.cache
def usual_breakdown(number):
    return billed(BILLS[number])


def test_every_price_counts():
    silent = []
    for f in dataclasses.fields(EnergyTable):
        if rule_of(f).is_static:
            continue
        for number, hardware in enumerate(BILLS):
            value = getattr(hardware.energy_table, f.name)
            if value is None:
                continue
            try:
                found = billed(hardware.replace(**{f"energy_table.{f.name}": others(f, value)[0]}))
            except InputError:  # which hardware refuses because it has a number of its own
                continue
            if found != usual_breakdown(number):
                break
        else:
            if not rule_of(f).counts:
                silent.append(f.name)
    assert silent == []


def test_when_a_field_counts_is_said_in_its_help():
    assert "counts with locking = 'open'" in (RingBank.__doc__ or "")
    assert "counts with coding = 'voltage'" in (PhaseShifter.__doc__ or "")
