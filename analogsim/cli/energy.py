"""``analogsim energy``: the energy per inference of a network on analog hardware and on other systems.

Standard networks go by name; for your own, give ``--model file.py:function``, a function that returns ``(model,
variables, sample)``. Standard networks are costed from their shapes, with assumed weights and inputs: nothing is
trained.
"""

import dataclasses
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

import analogsim
from analogsim.base import files
from analogsim.base.errors import InputError, nearest
from analogsim.base.files import output_folder
from analogsim.energy import FORMATS, STORAGE, SYSTEMS, Comparison, Deployment, compare
from analogsim.hardware.file import hardware_named
from analogsim.training.recipes import large_networks, networks


@dataclasses.dataclass(frozen=True)
class StandardNetwork:
    """A standard network: its constructor, the shape of one example, and a description."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    text: str


NETWORKS = {
    "mlp": StandardNetwork(lambda: networks.MLP(10), (28, 28, 1), "784-256-128-10"),
    "lenet": StandardNetwork(
        lambda: networks.LeNet(10), (28, 28, 1), "two convolutions, two dense layers, 28 x 28 images"
    ),
    "gru": StandardNetwork(lambda: networks.GRU(9), (25, 12), "64 gated recurrent units over 25 steps"),
    "transformer": StandardNetwork(
        lambda: networks.Transformer(9), (25, 12), "two blocks of 64 features over 25 steps"
    ),
    "alexnet": StandardNetwork(large_networks.AlexNet, (227, 227, 3), "five convolutions, three dense layers"),
    "resnet50": StandardNetwork(large_networks.ResNet50, (224, 224, 3), "50 layers, 224 x 224 images"),
}


def run(
    model: str, hardware: str, systems: str, batch: str, out: Path | None, as_json: bool, inferences: float | None,
    years: float, recalibrate: str | None,
) -> None:  # fmt: skip
    """Print the comparison; with ``out``, also write a page and the numbers of its figure as CSV."""
    deployment = None
    if inferences is not None:
        life = f"{years} years"
        deployment = Deployment(inferences=inferences, lifetime_s=life, recalibrate_every_s=recalibrate)
    elif recalibrate is not None:
        raise InputError("--recalibrate: needs --inferences, over which its energy is amortised")
    folder = None if out is None else output_folder(out)
    found = _compare(model, hardware, systems, batch, deployment)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        from rich.console import Console

        Console().print(found.table(), found.components_table())
    if folder is not None:
        page = found.to_html(folder / "energy.html")
        files.write(folder / "energy.csv", found.to_dataframe().to_csv(index=False), "--out ")
        if not as_json:
            print(f"Wrote {page} and {folder / 'energy.csv'}")


def validate(as_json: bool) -> None:
    """Print the energy models' results next to those of published chips."""
    from analogsim.energy import validation

    if as_json:
        print(json.dumps([check.to_dict() for check in validation.validation()], indent=2))
    else:
        from rich.console import Console

        Console().print(validation.table())


def list_systems() -> None:
    """Print the names of systems, number formats and weight storage formats."""
    print("systems:   " + ", ".join(SYSTEMS))
    print("formats:   " + ", ".join(FORMATS) + "        (H100:int8)")
    print("storage:   " + ", ".join(STORAGE) + "        (H100:int8:bitmask)")
    print("networks:  " + ", ".join(f"{name} ({known.text})" for name, known in NETWORKS.items()))


def _compare(model: str, hardware: str, systems: str, batch: str, deployment: Deployment | None) -> Comparison:
    names = tuple(name.strip() for name in systems.split(",") if name.strip())
    try:
        batches = tuple(int(number) for number in batch.split(","))
    except ValueError:
        raise InputError(f"--batch {batch}: must be comma-separated integers, for example 1,16,256") from None
    built, variables, sample = _model(model, hardware)
    return compare(built, variables, sample, systems=names, batch=batches, deployment=deployment)


def _model(name: str, hardware: str) -> tuple[Any, Any, Any]:
    """Return the model on its hardware, its variables and a sample."""
    on = hardware_named(hardware)
    if name in NETWORKS:
        known = NETWORKS[name]
        sample = jax.ShapeDtypeStruct((1, *known.shape), jnp.float32)
        plain = known.build()
        return analogsim.convert(plain, on), jax.eval_shape(plain.init, jax.random.key(0), sample), sample
    path, colon, function = name.rpartition(":")
    if not colon:
        raise InputError(f"--model {name}: {nearest(name, NETWORKS)}; or a file and a function, file.py:function")
    built = _function(Path(path), function)()
    if not (isinstance(built, tuple) and len(built) == 3):
        raise InputError(f"--model {name}: the function must return (model, variables, sample)")
    model, variables, sample = built
    if analogsim.summary(model, variables, sample).digital:
        model = analogsim.convert(model, on)
    return model, variables, sample


def _function(path: Path, name: str) -> Callable[[], Any]:
    if not path.is_file():
        raise InputError(f"--model {path}:{name}: there is no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"--model {path}:{name}: must be a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        raise InputError(f"--model {path}:{name}: the file has no function '{name}'")
    return getattr(module, name)
