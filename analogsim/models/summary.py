"""Summarise a model: its layers with a weight matrix, their hardware and tiles, or the reason why they are digital.

The utilisation of a layer's tiles is its number of weights / (tiles x rows x columns). Each weight takes as many cells
as the mapping of its hardware needs.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from analogsim.base.call_inputs import inputs_of
from analogsim.base.tables import as_count, as_percent, as_text, plain, simple_table
from analogsim.base.types import PyTree
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
    """One layer of a model.

    Attributes:
      path: path of its variables.
      kind: name of its class; ``"parameter"`` for a parameter that the model multiplies with outside of any layer.
      shape: shape of its kernel or table.
      copies: number of such layers in a stack (``nn.scan``); 1 without a stack.
      hardware: its hardware; None if it stays digital.
      matrix: ``(n_in, n_out)``, the shape of each matrix on its tiles.
      matrices: number of these matrices; more than one for groups and batch axes.
      tiles: number of tiles, of all copies together, like the numbers below.
      utilisation: fraction of the weight positions on these tiles that hold weights.
      cells: number of physical cells.
      adc_inputs: number of ADC inputs (physical columns), each of which is converted for every input vector.
      why_digital: reason why it stays digital; else empty.
      same_as: path of the first layer of an NNX model that shares its parameter; else empty. Each of these layers has
        a separate array, because the scales and converters of an array serve one direction and one place.
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
        """Number of entries of its kernel, of all copies together."""
        return self.copies * math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class Summary:
    """The layers of a model in the order of use; a sequence of ``LayerSummary`` that prints as a table."""

    layers: tuple[LayerSummary, ...]

    def __iter__(self) -> Iterator[LayerSummary]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> LayerSummary:
        return self.layers[index]

    @property
    def digital(self) -> tuple[LayerSummary, ...]:
        """The layers that stay digital."""
        return tuple(layer for layer in self.layers if layer.hardware is None)

    @property
    def larger_as_cores(self) -> dict[str, tuple[int, int]]:
        """Layers whose cores hold at least as many numbers as a dense kernel: (numbers in cores, in kernel) by path."""
        layers: dict[str, list[tuple[int, ...]]] = {}
        for layer in self.layers:
            if layer.kind == "Core" and len(layer.shape) == 4:
                layers.setdefault(layer.path.rpartition("/")[0] or ROOT, []).append(layer.shape)
        sizes = {
            path: (sum(map(math.prod, shapes)), math.prod(m * n for _, m, n, _ in shapes))
            for path, shapes in layers.items()
        }
        return {path: (cores, dense) for path, (cores, dense) in sizes.items() if cores >= dense}

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the layers in the order of use."""
        return tuple(layer.path for layer in self.layers)

    def table(self) -> "rich.table.Table":
        """Return a table with one row per layer: the tiles of analog layers, the reason for digital ones."""
        analog = [layer for layer in self.layers if layer.hardware is not None]
        table = simple_table(f"{len(analog)} of {len(self.layers)} matrix layers on analog hardware")
        for name in ("layer", "type", "kernel", "on", "tiles", "used", "cells", "DAC", "ADC"):
            justify: Any = "right" if name in ("tiles", "used", "cells") else "left"
            table.add_column(name, justify=justify, overflow="fold")
        for layer in self.layers:
            table.add_row(*_cells(layer))
        weights, on_tiles = sum(layer.weights for layer in self.layers), sum(layer.weights for layer in analog)
        positions = sum(layer.weights / layer.utilisation for layer in analog)
        if self.larger_as_cores:
            table.caption = "\n".join(
                plain(f"{path}: its cores hold {as_count(cores)} numbers, a dense kernel {as_count(dense)}")
                for path, (cores, dense) in self.larger_as_cores.items()
            )
        table.add_section()
        tiles, cells = sum(layer.tiles for layer in analog), sum(layer.cells for layer in analog)
        total = (as_count(tiles), as_percent(on_tiles, positions), as_count(cells))
        table.add_row(
            "all", "", f"{as_count(weights)} weights", f"{as_percent(on_tiles, weights)} analog", *total, "", ""
        )
        return table

    def __str__(self) -> str:
        return as_text(self.table())


def _cells(layer: LayerSummary) -> tuple[str, ...]:
    shape = " x ".join(map(str, layer.shape)) + (f", of {layer.same_as}" if layer.same_as else "")
    first = (plain(layer.path), layer.kind, plain(f"{layer.copies} of {shape}" if layer.copies > 1 else shape))
    hardware = layer.hardware
    if hardware is None:
        return (*first, plain(f"digital: {layer.why_digital}"), "", "", "", "", "")
    tiles = (as_count(layer.tiles), as_percent(layer.utilisation, 1), as_count(layer.cells))
    return (*first, plain(hardware.name), *tiles, _converter(hardware.dac), _converter(hardware.adc))


def _converter(converter: Any) -> str:
    """Format the bits of a converter, and its circuit unless it is the default one: ``"8 b"``, ``"8 b SAR"``."""
    if converter is None:
        return "none"
    kind, bits = type(converter).__name__.removesuffix("ADC").removesuffix("DAC"), converter.bits
    swept = np.ndim(bits) > 0 or isinstance(bits, jax.core.Tracer)
    return f"{'exact' if bits is None else 'swept' if swept else f'{int(bits)} b'} {kind}".strip()


def summary(model: Any, variables: PyTree = None, x: Any = None, **options: Any) -> Summary:
    """List the layers of a model that have a weight matrix: hardware, tiles, cells and converters, or why digital.

    The model is only evaluated abstractly. A plain model may be passed, too, for example to see the paths of its layers
    before writing rules; all its layers are digital.

    Args:
      model, variables: a Linen model and its variables, or an NNX model and None.
      x: inputs (``analogsim.Inputs``), of which only the shapes are used; not needed if ``variables`` come from
        ``calibrate``. Without ``x``, an NNX model is listed in the order of its attributes, and products with
        parameters outside of layers are not listed.
      **options: keyword arguments of the model's call, for example ``train=False``; for a Linen model also ``rngs``.

    Returns:
      The rows of the layers, which print as a table.

    Raises:
      InputError: if ``x`` is needed and missing, or does not fit the model.

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
    first_layer: dict[Any, str] = {}  # by shared parameter
    rows = []
    for row in _rows(inventory, _sizes(bound.collections()["params"])):
        path = first_layer.setdefault(inventory.parameters.get(row.path, row.path), row.path)
        rows.append(dataclasses.replace(row, same_as="" if path == row.path else path))
    return Summary(tuple(rows))


def _sizes(parameters: PyTree) -> dict[str, int]:
    """Return the number of entries of every layer's kernel by path, including all layers of a stack."""
    leaves = jax.tree_util.tree_flatten_with_path(parameters)[0]
    named = [(leaf_path(path), math.prod(np.shape(leaf))) for path, leaf in leaves]
    return {path.rpartition("/")[0]: size for path, size in named if path.rpartition("/")[2] in ("kernel", "embedding")}


def _rows(inventory: Inventory, sizes: dict[str, int]) -> list[LayerSummary]:
    analog = {listed.path: listed for listed in inventory.layers}
    rows = []
    for path in inventory.order:
        if path in analog:
            listed = analog[path]
            kind = inventory.kinds.get(path, "")
            rows.append(_row(listed, kind, _copies(path, math.prod(listed.kernel), sizes)))
        else:
            kind, shape, why = inventory.digital[path]
            rows.append(LayerSummary(path, kind, shape, _copies(path, math.prod(shape), sizes), why_digital=why))
    for stray in inventory.strays:
        rows.append(LayerSummary(stray.path, "parameter", stray.shape, why_digital="multiplied with outside of layers"))
    return rows


def _copies(path: str, kernel: int, sizes: dict[str, int]) -> int:
    # An Embed owns the parameters of its ``attend``; a layer that is called attend has its own.
    owner = path if path in sizes else "" if holder(path) == ROOT else holder(path)
    # A lifted transformation shows a layer the kernel of one entry; the parameters hold the whole stack.
    return max(sizes.get(owner, kernel) // max(kernel, 1), 1)


def _row(listed: modes.ListedLayer, kind: str, copies: int) -> LayerSummary:
    *stack, n_in, n_out = listed.matrices
    hardware, operator = listed.hardware, listed.operator
    members = [(operator.member(p), p / operator.members[0]) for p in operator.members] if stack else [(operator, 1)]
    tiles = cells = columns = 0
    for member, filled in members:  # the last member of a stack may hold fewer groups
        used_in, used_out = round(filled * n_in), round(filled * n_out)
        r, c = grid(used_in, used_out, hardware, member.tile_rows)
        tiles += r * c
        for rows in rows_in_use(member, used_in, r):
            for left, right in spans(used_out, c):
                cells += hardware.store.n_cells(len(rows), right - left)
                columns += hardware.store.n_columns(right - left)
    return LayerSummary(
        path=listed.path,
        kind=kind,
        shape=listed.kernel,
        copies=copies,
        hardware=hardware,
        matrix=(n_in, n_out),
        matrices=len(members),
        tiles=copies * tiles,
        utilisation=math.prod(listed.kernel) / (tiles * hardware.rows * hardware.columns),
        cells=copies * cells,
        adc_inputs=copies * columns,
    )
