"""Compute blocks of items with one compiled program per structure.

The program loops over items, ``at_once`` of them in parallel, and takes the number of items as an argument, so blocks
of any length share one compilation. Several devices of a computer each compute a part of the block.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from analogsim.base.errors import InputError
from analogsim.base.random import generator
from analogsim.sweeps.evaluations import Evaluation, Prepared
from analogsim.sweeps.plan import SweepPlan

#: Maximum number of items per call of the program; longer blocks take several calls.
_CAPACITY = 4096

#: Maximum number of items in parallel: beyond it memory grows, and time no longer falls.
_MOST_AT_ONCE = 64


@dataclasses.dataclass(frozen=True)
class Job:
    """The complete inputs of a sweep, which can be pickled and sent to another process.

    Attributes:
      evaluation, hardware, plan: the measurement, its hardware and the grid.
      key_data, key_kind: the sweep's key as raw data, and its implementation.
      chip_batch_size: items in parallel; None chooses by free memory.
    """

    evaluation: Evaluation
    hardware: Any
    plan: SweepPlan
    key_data: np.ndarray
    key_kind: str
    chip_batch_size: int | None

    @property
    def key(self) -> jax.Array:
        """The sweep's random key."""
        return jax.random.wrap_key_data(jnp.asarray(self.key_data), impl=generator(self.key_kind))


class Runner:
    """Computes blocks; keeps the compiled program of one structure until another structure is requested."""

    def __init__(self, job: Job, devices: Sequence[Any] | None = None):
        self.job, self.devices = job, devices
        self.structure: int | None = None  #: the structure that is prepared
        self._call: Callable[[np.ndarray], dict[str, np.ndarray]] = lambda items: {}

    def get_ready(self, structure: int) -> None:
        """Prepare a structure; its program is compiled with the first block."""
        if structure != self.structure:
            job = self.job
            prepared = job.evaluation.prepare(job.hardware, job.plan.structure(structure), job.key)
            make = _compiled if prepared.compiled else _eager
            self._call, self.structure = make(job, prepared, self.devices), structure

    def run(self, structure: int, items: np.ndarray) -> dict[str, np.ndarray]:
        """Return the metrics of these items, ``{metric: [items(, times)]}``."""
        self.get_ready(structure)
        return self._call(np.asarray(items))


def _eager(job: Job, prepared: Prepared, devices: Any) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Return a function that computes item by item with plain numbers."""
    if devices is not None:
        raise InputError("devices: needs a compiled evaluate; omit it, or pass an executor")
    points, times_s = job.plan.points(), job.plan.times_s

    def call(items: np.ndarray) -> dict[str, np.ndarray]:
        found = []
        for item in items.tolist():
            point, chip = divmod(item, job.plan.chips)
            values = points[point]
            found.append(prepared.measure(prepared.operands, values, job.key, chip, times_s))
        return {name: np.stack([np.asarray(scores[name]) for scores in found]) for name in found[0]}

    return call


def _compiled(job: Job, prepared: Prepared, devices: Any) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Return a function that computes items with one compiled program for all points, chips and times."""
    plan, n_devices = job.plan, len(devices) if devices else 1
    columns = {name: np.asarray(column) for name, column in plan.columns().items()}
    times_s = None if plan.times_s is None else np.asarray(plan.times_s)
    at_once = job.chip_batch_size or 1
    capacity = _capacity(plan, at_once, n_devices)
    program = _program(prepared, at_once, capacity, devices)
    fixed = (prepared.operands, columns, job.key, times_s)
    if job.chip_batch_size is None and jax.default_backend() != "cpu":  # on a CPU one at a time is fastest
        at_once = _that_fit(program, fixed, capacity * n_devices, devices)
        capacity = _capacity(plan, at_once, n_devices)
        program = _program(prepared, at_once, capacity, devices)

    def call(items: np.ndarray) -> dict[str, np.ndarray]:
        results: list[dict[str, np.ndarray]] = []
        size = capacity * n_devices
        for start in range(0, len(items), size):
            part = items[start : start + size]
            items_per_device = -(-len(part) // n_devices)  # every device computes this many; the last repeat some items
            laid = np.full((n_devices, capacity), part[-1])
            for device in range(n_devices):
                device_items = part[device * items_per_device : (device + 1) * items_per_device]
                laid[device, : len(device_items)] = device_items
            # Divided by NumPy in int64: a point and a chip fit into int32, their item number need not.
            points, chips = (a.reshape(-1).astype(np.int32) for a in np.divmod(laid, plan.chips))
            with _clear_errors(list(columns)):
                scores = program(*fixed, points, chips, np.int32(items_per_device))
            rows = {name: np.asarray(v).reshape(n_devices, capacity, *v.shape[1:]) for name, v in scores.items()}
            results.append({n: v[:, :items_per_device].reshape(-1, *v.shape[2:])[: len(part)] for n, v in rows.items()})
        return {name: np.concatenate([scores[name] for scores in results]) for name in results[0]}

    return call


def _capacity(plan: SweepPlan, at_once: int, n_devices: int) -> int:
    """Return the number of items per device in one call, a multiple of ``at_once``."""
    most = min(_CAPACITY, -(-plan.n_points * plan.chips // n_devices))
    return -(-most // at_once) * at_once


def _program(prepared: Prepared, at_once: int, capacity: int, devices: Any) -> Callable[..., dict[str, jax.Array]]:
    """Return the compiled loop ``program(operands, columns, key, times_s, points, chips, count)``."""

    def loop(operands, columns, key, times_s, points, chips, count):
        def one(point, chip):
            values = {name: column[point] for name, column in columns.items()}
            scores = prepared.measure(operands, values, key, chip, times_s)
            return {name: jnp.asarray(score) for name, score in scores.items()}

        def group(i, found):
            start = i * at_once
            if at_once == 1:
                scores = jax.tree.map(lambda s: s[None], one(points[start], chips[start]))
            else:
                scores = jax.vmap(one)(*(lax.dynamic_slice_in_dim(a, start, at_once) for a in (points, chips)))
            return jax.tree.map(lambda f, s: lax.dynamic_update_slice_in_dim(f, s, start, 0), found, scores)

        # A loop's carry needs all shapes before the first item; eval_shape traces an item without computing it.
        shapes = jax.eval_shape(one, points[0], chips[0])
        nothing = {name: jnp.zeros((capacity, *score.shape), score.dtype) for name, score in shapes.items()}
        if devices:  # shard_map (JAX 0.10) requires loop carries to vary over the mesh if their updates do
            nothing = jax.tree.map(lambda a: lax.pcast(a, "items", to="varying"), nothing)
        # A traced bound makes this a while loop, so the program does not depend on the number of items. The last group
        # may go beyond `count`, into the padding.
        return lax.fori_loop(0, (count + at_once - 1) // at_once, group, nothing)

    if not devices:
        return jax.jit(loop)
    mesh, split, whole = Mesh(np.array(devices), ("items",)), PartitionSpec("items"), PartitionSpec()
    specs = (whole, whole, whole, whole, split, split, whole)
    return jax.jit(jax.shard_map(loop, mesh=mesh, in_specs=specs, out_specs=split))


def _that_fit(program: Any, fixed: tuple, length: int, devices: Any) -> int:
    """Return how many items in parallel fit into half of the device's free memory, from the memory use of one."""
    numbers = jnp.zeros(length, jnp.int32)
    memory = program.lower(*fixed, numbers, numbers, jnp.int32(1)).compile().memory_analysis()
    # Temporaries only: arguments and results do not grow with the number of items in parallel.
    one = getattr(memory, "temp_size_in_bytes", 0)
    free = _free_bytes(devices)
    if not one or free is None:
        return 8
    return int(np.clip(0.5 * free / one, 1, _MOST_AT_ONCE))


def _free_bytes(devices: Any) -> int | None:
    """Return the smallest free memory of the devices in bytes; None if one does not report it."""
    all_stats = [device.memory_stats() for device in devices or jax.local_devices()[:1]]
    if not all(stats and "bytes_limit" in stats for stats in all_stats):
        return None
    return min(stats["bytes_limit"] - stats.get("bytes_in_use", 0) for stats in all_stats)


#: JAX's errors about traced values; the one about integers (a list index) is no ``ConcretizationTypeError``.
_NEEDS_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


class _clear_errors:
    """Replace JAX's error about a traced value that is required as a number by one sentence."""

    def __init__(self, names: list[str]):
        self.names = names

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, _NEEDS_VALUES):
            swept = f" and the swept fields {', '.join(self.names)}" if self.names else ""
            raise InputError(
                f"evaluate: needs the values of its arguments during compilation, when its key{swept} are not known "
                f"yet; use jax.numpy without float() or 'if' on them, add the field to structural=..., or pass "
                f"compiled=False"
            ) from error
