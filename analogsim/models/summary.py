"""What a model became: every layer that holds a matrix, on which hardware and how many tiles, or digital and why.

The share of the places on its tiles that a layer uses is its weights over tiles x rows x columns; a place holds as many
cells as the mapping takes for a weight.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from analogsim.base.call_inputs import inputs_of
from analogsim.base.tables import as_count, as_percent, as_text, plain, simple_table
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.rules import ROOT, holder
from analogsim.layers import modes
from analogsim.layers.inventory import Inventory
from analogsim.layers.weight_products import leaf_path
from analogsim.models.bound import bind
from analogsim.signal_path.operators import rows_in_use
from analogsim.signal_path.tiling import grid, spans

if TYPE_CHECKING:
    import rich.table


@dataclasses.dataclass(frozen=True)
class LayerSummary:
    """One layer.

    Attributes:
      path: where its variables are.
      kind: name of its class; ``"parameter"`` for one that the model multiplies with outside of any layer.
      shape: of its kernel or table.
      copies: how many such layers a stack (``nn.scan``) holds; 1 without.
      hardware: what it runs on; None where it stays digital.
      matrix: ``(n_in, n_out)`` of what its tiles hold.
      matrices: how many of them: more than one for groups and batch axes.
      tiles: how many hold the layer, all copies together; so for what follows.
      utilisation: weights as a share of the places on these tiles.
      cells: physical cells.
      adc_inputs: number of ADC inputs (physical columns), each converted for every vector.
      why_digital: why it stays digital; empty where it does not.
      same_as: path of the first layer of an NNX model that has the same parameter; each has an array of its own,
        because one array's scales and converters serve one direction and one place. Empty for a parameter of its own.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    copies: int = 1
    hardware: Hardware | None = None
    matrix: tuple[int, int] | None = None
    matrices: int = 0
    tiles: int = 0
    utilisation: float = 0.0
    cells: int = 0
    adc_inputs: int = 0
    why_digital: str = ""
    same_as: str = ""

    @property
    def weights(self) -> int:
        """Numbers in its kernel, all copies together."""
        return self.copies * math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class Summary:
    """One row a layer, in the order of use; prints as a table.

    ``summary.digital`` are the rows of what stayed digital.
    """

    layers: tuple[LayerSummary, ...]

    def __iter__(self) -> Iterator[LayerSummary]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> LayerSummary:
        return self.layers[index]

    @property
    def digital(self) -> tuple[LayerSummary, ...]:
        """What stayed digital."""
        return tuple(layer for layer in self.layers if layer.hardware is None)

    @property
    def larger_as_cores(self) -> dict[str, tuple[int, int]]:
        """Layers held as cores that take as many numbers as a kernel, or more: path to (in cores, in a kernel)."""
        layers: dict[str, list[tuple[int, ...]]] = {}
        for layer in self.layers:
            if layer.kind == "Core" and len(layer.shape) == 4:
                layers.setdefault(layer.path.rpartition("/")[0] or ROOT, []).append(layer.shape)
        found = {
            path: (sum(map(math.prod, shapes)), math.prod(m * n for _, m, n, _ in shapes))
            for path, shapes in layers.items()
        }
        return {path: numbers for path, numbers in found.items() if numbers[0] >= numbers[1]}

    @property
    def paths(self) -> tuple[str, ...]:
        """The layers' paths, in the order of use: the first and the last are ``paths[0]`` and ``paths[-1]``."""
        return tuple(layer.path for layer in self.layers)

    def table(self) -> "rich.table.Table":
        """Analog layers with their tiles, digital ones with the reason."""
        on = [layer for layer in self.layers if layer.hardware is not None]
        table = simple_table(f"{len(on)} of {len(self.layers)} matrix layers on analog hardware")
        for name, right in (("layer", 0), ("type", 0), ("kernel", 0), ("on", 0), ("tiles", 1), ("used", 1),
                            ("cells", 1), ("DAC", 0), ("ADC", 0)):  # fmt: skip
            table.add_column(name, justify="right" if right else "left", overflow="fold")
        for layer in self.layers:
            table.add_row(*_cells(layer))
        weights, held = sum(layer.weights for layer in self.layers), sum(layer.weights for layer in on)
        places = sum(layer.weights / layer.utilisation for layer in on)
        if self.larger_as_cores:
            table.caption = "\n".join(
                plain(f"{path}: its cores hold {as_count(cores)} numbers, a dense kernel {as_count(dense)}")
                for path, (cores, dense) in self.larger_as_cores.items()
            )
        table.add_section()
        table.add_row(
            "all", "", f"{as_count(weights)} weights", f"{as_percent(held, weights)} analog",
            as_count(sum(layer.tiles for layer in on)), as_percent(held, places),
            as_count(sum(layer.cells for layer in on)), "", "",
        )  # fmt: skip
        return table

    def __str__(self) -> str:
        return as_text(self.table())


def _cells(layer: LayerSummary) -> tuple[str, ...]:
    shape = " x ".join(map(str, layer.shape)) + (f", of {layer.same_as}" if layer.same_as else "")
    first = (plain(layer.path), layer.kind, plain(f"{layer.copies} of {shape}" if layer.copies > 1 else shape))
    hardware = layer.hardware
    if hardware is None:
        return (*first, plain(f"digital: {layer.why_digital}"), "", "", "", "", "")
    return (
        *first, plain(hardware.name), as_count(layer.tiles), as_percent(layer.utilisation, 1), as_count(layer.cells),
        _converter(hardware.dac), _converter(hardware.adc),
    )  # fmt: skip


def _converter(converter: Any) -> str:
    """Bits of a converter, and its circuit where it is a special one: ``"8 b"``, ``"8 b SAR"``."""
    if converter is None:
        return "none"
    kind = type(converter).__name__.removesuffix("ADC").removesuffix("DAC")
    bits = converter.bits
    known = "exact" if bits is None else f"{int(bits)} b" if np.ndim(bits) == 0 and not _is_traced(bits) else "swept"
    return f"{known} {kind}".strip()


def _is_traced(value: Any) -> bool:
    return isinstance(value, jax.core.Tracer)


def summary(model: Any, variables: Any = None, x: Any = None, **options: Any) -> Summary:
    """Every layer of a model that holds a matrix: its hardware, tiles, cells and converters, or why it is digital.

    Works for plain models, too: then all layers are digital, and their paths are what rules can name. Nothing is
    computed: shapes suffice.

    Args:
      model, variables: a Linen model and its variables, or an NNX model and None.
      x: one call's inputs (``analogsim.Inputs``), of which only the shape is used; not needed if ``variables`` come
        from ``calibrate``. An NNX model without ``x`` is listed in the order of its attributes, and products with
        parameters outside of layers are not found.
      **options: keyword arguments of the model's call, for example ``train=False``, and ``rngs`` of a Linen model's.

    Example:
      >>> import flax.linen as nn, jax, jax.numpy as jnp
      >>> from analogsim import convert, preset
      >>> model, x = nn.Sequential([nn.Dense(800), nn.relu, nn.Dense(10)]), jnp.ones((1, 64))
      >>> variables = model.init(jax.random.key(0), x)
      >>> first, last = summary(model, variables, x).paths
      >>> rows = summary(convert(model, [(last, None), (".*", preset("pcm"))]), variables, x)
      >>> rows[0].tiles, rows[1].why_digital
      (2, "rule 'layers_2'")
    """
    if x is not None:
        x, options = inputs_of(x, options)
    bound = bind(model, variables, x, options)
    inventory = bound.inventory()
    first: dict[Any, str] = {}
    rows = []
    for row in _rows(inventory, _sizes(bound.collections()["params"])):
        path = first.setdefault(inventory.parameters.get(row.path, row.path), row.path)
        rows.append(dataclasses.replace(row, same_as="" if path == row.path else path))
    return Summary(tuple(rows))


def _sizes(parameters: Any) -> dict[str, int]:
    """How many numbers the kernel of each layer has, by the layer's path; a stack's all together."""
    leaves = jax.tree_util.tree_flatten_with_path(parameters)[0]
    named = [(leaf_path(path), math.prod(np.shape(leaf))) for path, leaf in leaves]
    return {path.rpartition("/")[0]: size for path, size in named if path.rpartition("/")[2] in ("kernel", "embedding")}


def _rows(found: Inventory, sizes: dict[str, int]) -> list[LayerSummary]:
    analog = {listed.path: listed for listed in found.layers}
    rows = []
    for path in found.order:
        if path in analog:
            listed = analog[path]
            kind = found.kinds.get(path, "")
            rows.append(_row(listed, kind, _copies(path, math.prod(listed.kernel), sizes)))
        else:
            kind, shape, why = found.digital[path]
            rows.append(LayerSummary(path, kind, shape, _copies(path, math.prod(shape), sizes), why_digital=why))
    for stray in found.strays:
        rows.append(LayerSummary(stray.path, "parameter", stray.shape, why_digital="multiplied with outside of layers"))
    return rows


def _copies(path: str, kernel: int, sizes: dict[str, int]) -> int:
    own = "" if holder(path) == ROOT else holder(path)
    return max(sizes.get(own, kernel) // max(kernel, 1), 1)


def _row(listed: modes.ListedLayer, kind: str, copies: int) -> LayerSummary:
    *stack, n_in, n_out = listed.matrices
    hardware, operator = listed.hardware, listed.operator
    members = [(operator.member(p), p / operator.members[0]) for p in operator.members] if stack else [(operator, 1)]
    arrays = cells = lines = 0
    for one, filled in members:  # the last of a stack may hold fewer groups
        used_in, used_out = round(filled * n_in), round(filled * n_out)
        r, c = grid(used_in, used_out, hardware, one.tile_rows)
        arrays += r * c
        for rows in rows_in_use(one, used_in, r):
            for left, right in spans(used_out, c):
                cells += hardware.store.n_cells(len(rows), right - left)
                lines += hardware.store.n_columns(right - left)
    used = math.prod(listed.kernel) / (arrays * hardware.rows * hardware.columns)
    return LayerSummary(
        listed.path, kind, listed.kernel, copies, hardware, (n_in, n_out), len(members),
        copies * arrays, used, copies * cells, copies * lines,
    )  # fmt: skip
