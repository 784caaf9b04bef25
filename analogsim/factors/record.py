"""What a compression reached: error, ranks, numbers and multiply-accumulates, as a record and as a table."""

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from analogsim.base.tables import as_text, many, plain, simple_table
from analogsim.factors.layout import Layout

if TYPE_CHECKING:
    import rich.table


@dataclasses.dataclass(frozen=True)
class Compression:
    """One matrix as cores; prints as a table.

    Attributes:
      layout: modes and ranks.
      rel_error: ||W - W'||_F / ||W||_F of the cores as they are, rounding to their type included.
    """

    layout: Layout
    rel_error: float

    @classmethod
    def of(cls, w: np.ndarray, factors: Any) -> "Compression":
        """The record of these cores for this matrix."""
        layout = Layout.of(factors)
        whole = np.asarray(factors[0], np.float64)
        for core in factors[1:]:
            whole = np.tensordot(whole, np.asarray(core, np.float64), axes=1)
        d, size = layout.cores, float(np.linalg.norm(w))
        order = [0, *(1 + 2 * k for k in range(d)), *(2 + 2 * k for k in range(d)), 2 * d + 1]
        lost = float(np.linalg.norm(whole.transpose(order).reshape(w.shape) - w))
        return cls(layout, lost / size if size else lost)

    @property
    def ranks(self) -> tuple[int, ...]:
        """Between neighbouring cores."""
        return self.layout.ranks

    @property
    def params(self) -> int:
        """Numbers in the cores."""
        return self.layout.params

    @property
    def ratio(self) -> float:
        """How many times fewer they are than the matrix's; below 1 where they are more."""
        return self.layout.dense / self.layout.params

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one input vector through the cores."""
        return self.layout.macs

    @property
    def macs_dense(self) -> int:
        """Those of the matrix."""
        return self.layout.dense

    def table(self) -> "rich.table.Table":
        """One row."""
        return compressions_table("Compressed matrix", (("", self),))

    def __str__(self) -> str:
        return as_text(self.table())


def compressions_table(title: str, rows: Iterable[tuple[str, Compression]]) -> "rich.table.Table":
    """A row for every matrix, and what all of them come to."""
    table = simple_table(title)
    for name, right in (("layer", 0), ("modes, ranks", 0), ("error", 1), ("numbers", 1), ("dense", 1), ("ratio", 1),
                        ("MACs", 1), ("of dense", 1)):  # fmt: skip
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    known = tuple(rows)
    for path, one in known:
        table.add_row(
            plain(path), str(one.layout), f"{one.rel_error:.3g}", many(one.params), many(one.layout.dense),
            f"{one.ratio:.2f}", many(one.macs), f"{one.macs / one.macs_dense:.2f}",
        )  # fmt: skip
    if len(known) > 1:
        params, dense, macs = (
            sum(getattr(one.layout, name) for _, one in known) for name in ("params", "dense", "macs")
        )
        table.add_section()
        table.add_row(
            "all", "", "", many(params), many(dense), f"{dense / params:.2f}", many(macs), f"{macs / dense:.2f}"
        )
    return table
