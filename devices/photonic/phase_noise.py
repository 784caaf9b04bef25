"""Effect of phase noise on the matrix of a mesh, to first order.

Shifter k multiplies the field of one waveguide by e^(i phi). With A the fields right behind it for each input, and B
the transfer from there to the outputs, dM_ji / dphi_k = i B_jk A_ki, so that noise of variance 1 rad^2 gives

    Var(Re M_ji) = sum_k Im(B_jk A_ki)^2 = (|B|^2 |A|^2 - Re(B^2 A^2))_ji / 2

which is two matrix products over all shifters of a mesh.
"""

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.dtypes import to_complex
from analogsim.base.types import Numeric
from analogsim.devices.photonic.interferometer import TransferMatrix, transfer
from analogsim.devices.photonic.layouts import layout
from analogsim.devices.photonic.light import field_ratio
from analogsim.devices.photonic.mesh import Couplers, Phases, columns_of, through


def squared_products(behind: jax.Array, before: jax.Array) -> jax.Array:
    """Return sum_k Im(B_jk A_ki)^2 ``[n_out, n_in]`` for ``behind`` B ``[n_out, K]`` and ``before`` A ``[K, n_in]``."""
    powers = jnp.matmul(jnp.abs(behind) ** 2, jnp.abs(before) ** 2, precision="highest")
    return jnp.maximum(powers - jnp.real(jnp.matmul(behind**2, before**2, precision="highest")), 0.0) / 2


def noise_variance(
    phases: Phases, couplers: Couplers, before: jax.Array, behind: jax.Array, topology: str, cell_loss_db: Numeric,
    balanced: bool,
) -> jax.Array:  # fmt: skip
    """Return the variance of the real part of ``behind @ mesh @ before`` for noise of 1 rad^2 on every phase.

    Args:
      phases, couplers: of the mesh, ``[columns, n // 2]``.
      before: fields at its inputs, ``[n, n_in]``.
      behind: transfer matrix from its outputs, ``[n_out, n]``.
      topology, cell_loss_db, balanced: as of ``mesh.rebuild``.

    Returns:
      Variances ``[n_out, n_in]``.
    """
    columns = columns_of(phases, topology, couplers, cell_loss_db, balanced)
    output, n_out = jnp.exp(1j * to_complex(phases.output)), len(behind)
    last, ahead = lax.scan(
        lambda u, column: (through(column, u), u), before, columns
    )  # ahead: fields before each column
    t11, t12, t21, t22 = columns.cells
    backwards = columns._replace(cells=TransferMatrix(t11, t21, t12, t22))  # of the transposed mesh
    _, after = lax.scan(lambda u, c: (through(c, u), u), (behind * output[None]).T, backwards, reverse=True)
    where = layout(len(output), topology)
    lit, led = jax.vmap(_pairs)(columns.order, ahead), jax.vmap(_pairs)(columns.order, after)
    outer, inner = (jnp.exp(1j * to_complex(phase))[..., None] for phase in (phases.phi, phases.theta))
    ca, sa, cb, sb = (to_complex(f(jnp.pi / 4 + e))[..., None] for e in couplers for f in (jnp.cos, jnp.sin))
    bare = TransferMatrix(*(t[..., None] for t in transfer(phases.theta, 0.0, *couplers)))
    passed = jnp.where(where.occupied, jnp.asarray(field_ratio(cell_loss_db), t11.dtype), 0)[
        ..., None
    ]  # zero removes pairs without a cell
    behind_phi = passed * (bare.t11 * led[0] + bare.t21 * led[1])
    behind_theta = passed * (cb * led[0] + 1j * sb * led[1])
    at_phi = outer * lit[0]
    at_theta = inner * (ca * at_phi + 1j * sa * lit[1])
    a = [m.reshape(-1, before.shape[1]) for m in (at_phi, at_theta, output[:, None] * last)]
    b = [m.reshape(-1, n_out) for m in (behind_phi, behind_theta, behind.T)]
    return squared_products(jnp.concatenate(b).T, jnp.concatenate(a))


def _pairs(order: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Fields of the upper and of the lower mode of a column's pairs, ``[n // 2, ...]`` each."""
    pairs, met = len(u) // 2, u[order]
    return met[0 : 2 * pairs : 2], met[1 : 2 * pairs : 2]
