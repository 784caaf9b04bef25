"""A network whose kernels, chip and batch are spread over four devices, of one process or of several.

    python -m tests.support.sharded ADDRESS N_PROCESSES NUMBER FOLDER

runs as one of several processes and writes what lies on its own devices, ``NUMBER.npz``, and what its programs send
between devices, ``NUMBER.json``.
"""

import json
import pathlib
import re
import sys
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from analogsim import ChipScores, InputError, calibrate, convert, preset, program, sweep
from analogsim.chips.chip import read
from analogsim.models.bound import bind, program_jit
from analogsim.training import AdditiveNoise, make_step

N_IN, HIDDEN, CLASSES, EXAMPLES = 24, 32, 16, 8
X = np.random.default_rng(0).normal(size=(EXAMPLES, N_IN)).astype(np.float32)
LABELS = np.arange(EXAMPLES) % CLASSES
AXES = ("data", "model")
#: One cut along the columns and one along the rows, so that between them nothing has to move.
SPECS = {
    "Dense_0": {"kernel": P(None, "model"), "bias": P("model")},
    "Dense_1": {"kernel": P("model", None), "bias": P()},
}
_COLLECTIVE = re.compile(r"= (.+?) (all-gather|all-reduce|all-to-all|collective-\w+|reduce-scatter)(?:-start)?\(")


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(HIDDEN)(x))
        return nn.Dense(CLASSES)(x)


def placed(mesh: Mesh, specs: Any, tree: Any) -> Any:
    """Arrays that every process holds whole, as arrays of all devices."""

    def one(spec: P, a: Any) -> jax.Array:
        return jax.make_array_from_callback(np.shape(a), NamedSharding(mesh, spec), lambda index: np.asarray(a)[index])

    return jax.tree.map(one, specs, tree, is_leaf=lambda spec: isinstance(spec, P))


def collectives(compiled: Any) -> list[tuple[str, int]]:
    """What a program sends between devices: kind, and numbers in the largest array of the result."""
    found = _COLLECTIVE.findall(compiled.as_text())
    sizes = [[np.prod([int(n) for n in dims.split(",") if n]) for dims in re.findall(r"\[([\d,]*)\]", shape)]
             for shape, _ in found]  # fmt: skip
    return [(kind, int(max(size))) for (_, kind), size in zip(found, sizes, strict=True)]


def run(devices: Any) -> tuple[dict[str, jax.Array], dict[str, list[tuple[str, int]]]]:
    """Calibrate, take a training step, program a chip and use it a day later.

    Args:
      devices: four; those of a process lie next to each other.

    Returns:
      The arrays by name, and the collectives of the compiled programs by name.
    """
    rows = np.asarray(devices).reshape(2, 2)
    model = convert(MLP(), preset("pcm", training=AdditiveNoise(std=0.05)))
    params = jax.device_get(jax.jit(model.init)(jax.random.key(0), X)["params"])
    # First the batch is cut between processes, then kernels and chip.
    by_batch, by_kernel = (Mesh(rows, names, axis_types=(AxisType.Auto,) * 2) for names in (AXES, AXES[::-1]))
    with jax.set_mesh(by_batch):
        arrays, sent = _trained(model, by_batch, params)
    with jax.set_mesh(by_kernel):
        on_chip, sent_on_chip = _on_chip(model, by_kernel, params)
    return arrays | on_chip, sent | sent_on_chip


def _trained(model: nn.Module, mesh: Mesh, params: Any) -> Any:
    x, labels = placed(mesh, (P("data"), P("data")), (X, LABELS))
    variables = calibrate(model, {"params": placed(mesh, SPECS, params)}, x)

    step = make_step(model, variables, x, optimizer=optax.sgd(0.1, momentum=0.9))
    args = (step.initial_state, x, labels, jax.random.key(1))
    compiled = jax.jit(step).lower(*args).compile()
    carry, metrics = compiled(*args)
    numbers = {"ranges": variables["ranges"], "first": step.initial_state, "updated": carry, "loss": metrics.loss}
    return _named(**numbers), {"step": collectives(compiled)}


def _on_chip(model: nn.Module, mesh: Mesh, params: Any) -> Any:
    x, key = placed(mesh, P("data"), X), jax.random.key(2)
    variables = {"params": placed(mesh, SPECS, params)}
    fresh = program(model, variables, key, x)
    chip = fresh.at("1 day")
    forward = jax.jit(lambda v, x: model.apply(v, x, rngs={"analog": jax.random.key(3)}))
    programs = {
        "program": program_jit.lower(bind(model, variables, x), key, None),
        "read": read.lower(fresh.cells, 86400.0, None, True),
        "forward": forward.lower(chip.variables, x),
    }
    sent = {name: collectives(lowered.compile()) for name, lowered in programs.items()}
    _check_refusals(model, mesh, params, x, key)
    return _named(cells=fresh.cells, readings=chip.readings, outputs=forward(chip.variables, x)), sent


def _check_refusals(model: nn.Module, mesh: Mesh, params: Any, x: jax.Array, key: jax.Array) -> None:
    """Every process raises the same: NaN in one kernel on one device, and a sweep over arrays of several processes."""
    bad = jax.tree.map(np.copy, params)
    bad["Dense_0"]["kernel"][0, 0] = np.nan  # lies with the first process only
    with pytest.raises(InputError, match="layer Dense_0: its weights hold NaN"):
        program(model, {"params": placed(mesh, SPECS, bad)}, key, x)
    if jax.process_count() > 1:
        scores = ChipScores(model, {"params": placed(mesh, SPECS, params)}, x, LABELS)
        with pytest.raises(InputError, match="devices of several processes"):
            sweep(scores, over={"time": ["1 s"]}, key=key, chips=1)


def _named(**trees: Any) -> dict[str, jax.Array]:
    leaves = jax.tree_util.tree_leaves_with_path(trees)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves if isinstance(leaf, jax.Array)}


def main(address: str, n_processes: str, number: str, folder: str) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, int(n_processes), int(number))
    arrays, sent = run(jax.devices())
    # Each part under its name and the place of its corner: nothing is collected.
    parts = {
        f"{name} {[s.start or 0 for s in shard.index]}": np.asarray(shard.data)
        for name, array in arrays.items()
        for shard in array.addressable_shards
    }
    out = pathlib.Path(folder)
    np.savez(out / f"{number}.npz", **parts)
    (out / f"{number}.json").write_text(json.dumps(sent))
    jax.distributed.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
