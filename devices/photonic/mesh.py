"""Unitary matrices on a mesh of interferometers: decomposition into phases and reconstruction.

    U = D  T_k ... T_2 T_1        light meets T_1 first; D: diagonal of output phases

The decomposition nulls the elements in sequence with cells from the right or from the left (``layouts``), then moves
the left cells through the diagonal: T^dagger D = D' T' with the same theta. If coupler errors are known, each nulling
uses the real cell instead of the ideal one, and every reachable matrix is set exactly: R. Hamerly,
S. Bandyopadhyay and D. Englund, arXiv 2106.03249; S. Bandyopadhyay et al., Optica 8, 1247 (2021), arXiv 2103.04993.

Everything is traceable, in the precision of its input: complex128 under ``jax.enable_x64`` is exact to 1e-12.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from analogsim.base.dtypes import to_complex
from analogsim.base.errors import InputError
from analogsim.base.types import Numeric
from analogsim.devices.photonic.interferometer import TransferMatrix, theta_for, transfer
from analogsim.devices.photonic.layouts import UNIVERSAL, MeshLayout, layout
from analogsim.devices.photonic.light import field_ratio


class Phases(NamedTuple):
    """Phases of a mesh, radians; zero at pairs without a cell.

    Attributes:
      theta: phases between the couplers, ``[columns, n // 2]``.
      phi: phases before the couplers, ``[columns, n // 2]``.
      output: phases behind the mesh, ``[n]``.
    """

    theta: jax.Array
    phi: jax.Array
    output: jax.Array


class Columns(NamedTuple):
    """The columns of a mesh, or one column without the leading axis.

    Attributes:
      cells: transfer matrix of every pair, diagonal for pairs without a cell, ``[columns, n // 2]`` each.
      order: modes, pair by pair, ``[columns, n]``.
      back: inverse permutation of ``order``, ``[columns, n]``.
      passing: factor on the field of an unpaired mode, ``[columns]``.
    """

    cells: TransferMatrix
    order: jax.Array
    back: jax.Array
    passing: jax.Array


class Couplers(NamedTuple):
    """Errors of the couplers of every cell, radians, each ``[columns, n // 2]``."""

    first: jax.Array
    second: jax.Array


def decompose(unitary: jax.Array, topology: str = "rectangular", couplers: Couplers | None = None) -> Phases:
    """Return the phases with which a mesh implements a unitary matrix.

    Args:
      unitary: ``[n, n]``.
      topology: ``"rectangular"`` or ``"triangular"``.
      couplers: calibrated coupler errors of its cells; None for ideal couplers.

    Raises:
      InputError: if the matrix is not square or, when its values are concrete, not unitary to its precision, or if the
        topology is not universal.

    Example:
      >>> import jax
      >>> u = haar(jax.random.key(0), 6)
      >>> bool(jnp.allclose(rebuild(decompose(u)), u, atol=1e-5))
      True
    """
    unitary = jnp.asarray(unitary)
    if unitary.ndim != 2 or unitary.shape[0] != unitary.shape[1]:
        raise InputError(f"unitary: shape {unitary.shape}: must be square, [n, n]")
    _check_unitary(unitary)
    if topology not in UNIVERSAL:
        raise InputError(
            f"topology = {topology!r}: must be one of {', '.join(UNIVERSAL)}; a butterfly represents only some "
            f"matrices, so train its phases instead"
        )
    where = layout(len(unitary), topology)
    u = to_complex(unitary)
    real = jnp.real(u).dtype
    empty = jnp.zeros(where.occupied.shape, real)
    if not len(where.mode):
        return Phases(empty, empty, jnp.mod(jnp.angle(u[0]), 2 * jnp.pi))
    a, b = (jnp.zeros(len(where.mode), real),) * 2
    if couplers is not None:
        a, b = (jnp.asarray(e, real)[where.column, where.slot] for e in couplers)
    steps = (jnp.asarray(where.from_right), jnp.asarray(where.mode), jnp.asarray(where.line), a, b)
    # N(N-1)/2 steps on two rows or columns each, O(N^3) in total, in one compiled body.
    u, (theta, phi) = lax.scan(_null, u, steps)
    theta, phi, output = _through_the_diagonal(where, jnp.diagonal(u), theta, phi, a, b)
    at = (where.column, where.slot)
    return Phases(empty.at[at].set(theta), empty.at[at].set(phi), output)


def _null(u: jax.Array, step: tuple) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Null one element; transposing makes one code of both sides, as a cell from the right acts on U^T's rows."""
    from_right, mode, line, a, b = step
    pair = jnp.where(from_right, lax.dynamic_slice_in_dim(u, mode, 2, 1).T, lax.dynamic_slice_in_dim(u, mode, 2, 0))
    upper, lower = pair[0, line], pair[1, line]
    power = jnp.abs(upper) ** 2 + jnp.abs(lower) ** 2
    # From the right the element in the upper mode is nulled, T11/T12 = -(lower/upper)^*; from the left the one in the
    # lower mode, T21/T22 = -lower/upper. If both elements are zero, the cell is set to the bar state.
    straight = jnp.where(from_right, jnp.abs(lower) ** 2, jnp.abs(upper) ** 2)
    straight = jnp.where(power > 0, straight / jnp.where(power > 0, power, 1), 1.0)
    theta = theta_for(straight, a, b)
    bare = transfer(theta, 0.0, a, b)
    # Angles of products with conjugates instead of quotients: the same angles, without a division by zero.
    right = _angle(-jnp.conj(lower) * upper) - _angle(bare.t11 * jnp.conj(bare.t12))
    left = _angle(-lower * jnp.conj(upper)) - _angle(bare.t21 * jnp.conj(bare.t22))
    phi = jnp.where(from_right, right, left)
    t = transfer(theta, phi, a, b)
    t = TransferMatrix(*(jnp.where(from_right, jnp.conj(v), v) for v in t))  # U T^dagger acts on the transpose as T^*
    mixed = jnp.stack([t.t11 * pair[0] + t.t12 * pair[1], t.t21 * pair[0] + t.t22 * pair[1]])
    by_column = lax.dynamic_update_slice_in_dim(u, mixed.T, mode, 1)
    by_row = lax.dynamic_update_slice_in_dim(u, mixed, mode, 0)
    return jnp.where(from_right, by_column, by_row), (theta, phi)


def _through_the_diagonal(where: MeshLayout, diagonal: jax.Array, theta, phi, a, b):
    """Move the cells that acted from the left through D, the last one first: T^dagger D = D' T'."""
    left = np.flatnonzero(~where.from_right)[::-1]
    output = jnp.angle(diagonal)
    if not len(left):
        return theta, jnp.mod(phi, 2 * jnp.pi), output

    def move(output, cell):
        mode, theta, phi, a, b = cell
        m = transfer(theta, 0.0, a, b)
        d1, d2 = output[mode], output[mode + 1]
        straight = jnp.abs(m.t11) >= jnp.abs(m.t12)
        # The lower output phase follows from T22 even if T22 is small: this fixes what a cross-state cell leaves free.
        new_2 = jnp.where(jnp.abs(m.t22) > 0, d2 - 2 * _angle(m.t22), 0.0)
        new_phi = jnp.where(jnp.abs(m.t12) > 0, d1 - new_2 - _angle(m.t12) - _angle(m.t21), 0.0)
        by_straight = d1 - phi - 2 * _angle(m.t11) - new_phi
        by_crossing = d2 - phi - _angle(m.t21) - _angle(m.t12)
        new_1 = jnp.where(straight, by_straight, by_crossing)
        return output.at[mode].set(new_1).at[mode + 1].set(new_2), new_phi

    cells = (jnp.asarray(where.mode[left]), theta[left], phi[left], a[left], b[left])
    output, moved = lax.scan(move, output, cells)
    return theta, jnp.mod(phi.at[left].set(moved), 2 * jnp.pi), jnp.mod(output, 2 * jnp.pi)


def rebuild(
    phases: Phases, topology: str = "rectangular", couplers: Couplers | None = None, cell_loss_db: Numeric = 0.0,
    balanced: bool = True,
) -> jax.Array:  # fmt: skip
    """Return the field matrix ``[n, n]`` of a mesh.

    Args:
      phases: phases of the mesh.
      topology: of the mesh, any of ``layouts.TOPOLOGIES``.
      couplers: coupler errors of its cells; None for ideal couplers.
      cell_loss_db: power loss of every cell; the field is multiplied by 10^(-dB/20).
      balanced: whether waveguides that bypass cells have the same loss, so that losses only scale the matrix.
    """
    columns = columns_of(phases, topology, couplers, cell_loss_db, balanced)
    nothing = jnp.eye(len(phases.output), dtype=columns.passing.dtype)
    u, _ = lax.scan(lambda u, column: (through(column, u), None), nothing, columns)
    return jnp.exp(1j * to_complex(phases.output))[:, None] * u


def columns_of(
    phases: Phases, topology: str = "rectangular", couplers: Couplers | None = None, cell_loss_db: Numeric = 0.0,
    balanced: bool = True,
) -> Columns:  # fmt: skip
    """Return the columns of a mesh, first to last, all arrays ``[columns, ...]``; arguments as of ``rebuild``."""
    n = len(phases.output)
    where = layout(n, topology)
    a, b = (0.0, 0.0) if couplers is None else couplers
    t = transfer(phases.theta, phases.phi, a, b)
    field = jnp.asarray(field_ratio(cell_loss_db), t.t11.dtype)
    occupied, outside = jnp.asarray(where.occupied), field if balanced else jnp.ones_like(field)
    straight = jnp.where(occupied, field, outside)
    cells = TransferMatrix(
        jnp.where(occupied, t.t11 * field, straight),
        jnp.where(occupied, t.t12 * field, 0.0),
        jnp.where(occupied, t.t21 * field, 0.0),
        jnp.where(occupied, t.t22 * field, straight),
    )
    order = jnp.asarray(where.order)
    return Columns(cells, order, jnp.argsort(order, axis=1), jnp.broadcast_to(outside, (where.columns,)))


def through(column: Columns, u: jax.Array) -> jax.Array:
    """Return the fields ``[n, ...]`` behind one column of cells for fields ``u`` ``[n, ...]`` before it."""
    pairs, met = len(u) // 2, u[column.order]
    upper, lower = met[0 : 2 * pairs : 2], met[1 : 2 * pairs : 2]
    t11, t12, t21, t22 = (t.reshape(pairs, *(1,) * (u.ndim - 1)) for t in column.cells)
    # Two gathers and 2 x 2 products: n operations for each vector of fields, where a column as a matrix takes n^2.
    mixed = jnp.stack([t11 * upper + t12 * lower, t21 * upper + t22 * lower], axis=1).reshape(2 * pairs, *u.shape[1:])
    if len(u) % 2:
        mixed = jnp.concatenate([mixed, column.passing * met[-1:]])
    return mixed[column.back]


def haar(key: jax.Array, n: int, dtype: DTypeLike = jnp.complex64) -> jax.Array:
    """Draw a unitary matrix ``[n, n]`` from the Haar measure: QR of a complex Gaussian matrix, diagonal of R > 0."""
    real = jnp.real(jnp.zeros((), dtype)).dtype
    q, r = jnp.linalg.qr(lax.complex(*jax.random.normal(key, (2, n, n), real)))
    diagonal = jnp.diagonal(r)[None]
    # The phases of R's diagonal depend on the library; Q is Haar distributed only with them divided out.
    return q * (diagonal / jnp.abs(diagonal).astype(dtype))


def _angle(value: jax.Array) -> jax.Array:
    """Phase of complex values; 0 for zero, where ``jnp.angle`` has no derivative."""
    return jnp.angle(jnp.where(value == 0, 1.0, value))


def _check_unitary(unitary: jax.Array) -> None:
    if isinstance(unitary, jax.core.Tracer):
        return
    precise = jnp.real(unitary).dtype == jnp.float64
    values = np.asarray(unitary, np.complex128)
    off = float(np.abs(values.conj().T @ values - np.eye(len(values))).max())
    # Not ``off > ...``, which would accept NaN.
    if not off <= (1e-9 if precise else 1e-4):
        raise InputError(
            f"unitary: U^dagger U differs from 1 by {off:.2g}: must be unitary; a general matrix needs two meshes "
            f"(its singular value decomposition)"
        )
