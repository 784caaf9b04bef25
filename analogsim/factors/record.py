"""Record of a compression: error, ranks, parameters and multiply-accumulates, and its table."""

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from analogsim.base.tables import as_count, as_text, plain, simple_table
from analogsim.factors.layout import CoreLayout

if TYPE_CHECKING:
    import rich.table


@dataclasses.dataclass(frozen=True)
class Compression:
    """Result of compressing one matrix; prints as a table. Returned by ``Codec.compress``.

    Attributes:
      layout: modes and ranks.
      rel_error: ||W - W'||_F / ||W||_F of the cores, including the rounding to their dtype.

    Example:
      >>> from analogsim.codecs import LowRank
      >>> _, record = LowRank(rank=1).compress(np.ones((4, 6)))
      >>> record.params, record.ratio, round(record.rel_error, 3)     # 4 + 6 numbers for 24
      (10, 2.4, 0.0)
    """

    layout: CoreLayout
    rel_error: float

    @classmethod
    def of(cls, w: np.ndarray, factors: Any) -> "Compression":
        """Return the record of the cores ``factors`` of the matrix ``w`` ``[n_in, n_out]``."""
        layout = CoreLayout.of(factors)
        decoded = np.asarray(factors[0], np.float64)
        for core in factors[1:]:
            decoded = np.tensordot(decoded, np.asarray(core, np.float64), axes=1)
        d, size = layout.cores, float(np.linalg.norm(w))
        order = [0, *(1 + 2 * k for k in range(d)), *(2 + 2 * k for k in range(d)), 2 * d + 1]
        error_norm = float(np.linalg.norm(decoded.transpose(order).reshape(w.shape) - w))
        return cls(layout, error_norm / size if size else error_norm)

    @property
    def ranks(self) -> tuple[int, ...]:
        """Ranks between neighbouring cores."""
        return self.layout.ranks

    @property
    def params(self) -> int:
        """Number of parameters in the cores."""
        return self.layout.params

    @property
    def ratio(self) -> float:
        """Compression ratio, entries of the matrix per parameter; below 1 if there are more parameters."""
        return self.layout.dense / self.layout.params

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one input vector through the cores."""
        return self.layout.macs

    @property
    def macs_dense(self) -> int:
        """Multiply-accumulates of one input vector with the matrix."""
        return self.layout.dense

    def table(self) -> "rich.table.Table":
        """Return the record as a table of one row."""
        return compressions_table("Compressed matrix", (("", self),))

    def __str__(self) -> str:
        return as_text(self.table())


def compressions_table(title: str, rows: Iterable[tuple[str, Compression]]) -> "rich.table.Table":
    """Return a table with one row per matrix and, for several, their total."""
    table = simple_table(title)
    for name, right in (("layer", 0), ("modes, ranks", 0), ("error", 1), ("numbers", 1), ("dense", 1), ("ratio", 1),
                        ("MACs", 1), ("of dense", 1)):  # fmt: skip
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    compressions = tuple(rows)
    for path, compression in compressions:
        table.add_row(
            plain(path),
            str(compression.layout),
            f"{compression.rel_error:.3g}",
            as_count(compression.params),
            as_count(compression.layout.dense),
            f"{compression.ratio:.2f}",
            as_count(compression.macs),
            f"{compression.macs / compression.macs_dense:.2f}",
        )
    if len(compressions) > 1:
        params, dense, macs = (
            sum(getattr(compression.layout, name) for _, compression in compressions)
            for name in ("params", "dense", "macs")
        )
        table.add_section()
        table.add_row(
            "all",
            "",
            "",
            as_count(params),
            as_count(dense),
            f"{dense / params:.2f}",
            as_count(macs),
            f"{macs / dense:.2f}",
        )
    return table
