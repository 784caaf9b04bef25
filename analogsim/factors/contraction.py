"""Products with a matrix given as cores, without forming the matrix.

The modes of the input are contracted in sequence. Before core k an input has the shape
``[n_1 ... n_(k-1), m_(k+1) ... m_d, r_(k-1), m_k]``: the core, as a matrix ``[r_(k-1) m_k, n_k r_k]``, multiplies all
these vectors and replaces a mode of the input by one of the output. One input vector takes

    sum_k (prod_{l<k} n_l) (prod_{l>k} m_l) r_(k-1) m_k n_k r_k

multiply-accumulates (Novikov et al. 2015, section 4), which can exceed the n_in n_out of the matrix although the cores
have fewer parameters: hence ``contraction="auto"``.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from analogsim.base.dtypes import promoted
from analogsim.base.errors import InputError
from analogsim.factors.layout import CoreLayout
from analogsim.factors.trains import decode

CONTRACTIONS = ("auto", "factored", "dense")


def contract(x: jax.Array, layout: CoreLayout, multiply: Callable[[int, jax.Array], jax.Array]) -> jax.Array:
    """Multiply inputs by a train, core by core.

    Args:
      x: ``[..., n_in]``.
      layout: of the cores.
      multiply: ``multiply(k, t)`` returns the product of t ``[..., r_(k-1), m_k]`` with core k,
        ``[..., n_k, r_k]``, digital or analog.

    Returns:
      ``[..., n_out]``.

    Example:
      >>> cores = jnp.ones((1, 2, 1, 3)), jnp.ones((3, 2, 2, 1))     # a 4 x 2 matrix whose entries are all 3
      >>> layout = CoreLayout.of(cores)
      >>> contract(jnp.ones(4), layout, lambda k, t: jnp.einsum("...rm,rmns->...ns", t, cores[k])).tolist()
      [12.0, 12.0]
    """
    lead = x.shape[:-1]
    t = x.reshape(*lead, 1, 1, layout.n_in)  # [..., digits of the output, rank, digits of the input]
    for k, (left, m, n, right) in enumerate(layout.shapes):
        done, ahead = t.shape[-3], t.shape[-1] // m
        t = t.reshape(*lead, done, left, m, ahead)
        t = multiply(k, jnp.moveaxis(t, -1, -3))  # [..., done, ahead, n, right]
        t = jnp.moveaxis(t, -3, -1).reshape(*lead, done * n, right, ahead)
    return t.reshape(*lead, layout.n_out)


def apply(x: jax.Array, factors: Sequence[jax.Array], contraction: str = "auto", precision=None) -> jax.Array:
    """Multiply ``x`` by the matrix that cores represent.

    Args:
      x: ``[..., n_in]``.
      factors: cores, of ``TensorTrain`` or ``LowRank``.
      contraction: ``"factored"`` never forms the matrix; ``"dense"`` always does; ``"auto"`` chooses what takes fewer
        multiply-accumulates for the vectors in ``x``, decoding counted once.
      precision: of the products, as for ``lax.dot_general``.

    Returns:
      ``[..., n_out]``; differentiable in ``x`` and the cores.

    Raises:
      InputError: for an unknown contraction, cores that do not form a train, or another number of inputs than n_in.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim.codecs import TensorTrain, apply
      >>> w = jax.random.normal(jax.random.key(0), (16, 6))
      >>> factors, record = TensorTrain(rank=4, cores=2).compress(w)
      >>> apply(jnp.ones((3, 16)), factors).shape
      (3, 6)
    """
    check_contraction(contraction)
    layout = CoreLayout.of(factors)
    if x.ndim < 1 or x.shape[-1] != layout.n_in:
        raise InputError(f"x: shape {x.shape}: the cores take {layout.n_in} inputs along the last axis ({layout})")
    if contraction == "dense" or (contraction == "auto" and not layout.by_cores(math.prod(x.shape[:-1]))):
        return jnp.matmul(x, decode(factors), precision=precision)

    def multiply(k: int, t: jax.Array) -> jax.Array:
        dims = (((t.ndim - 2, t.ndim - 1), (0, 1)), ((), ()))
        return jax.lax.dot_general(t, factors[k], dims, precision=precision)

    x, *factors = _of_one_type(x, *factors)
    return contract(x, layout, multiply)


def macs(factors: Sequence[jax.Array] | CoreLayout) -> int:
    """Return the multiply-accumulates of one input vector through the cores.

    Args:
      factors: cores ``[r_(k-1), m_k, n_k, r_k]``, or their layout.

    Example:
      >>> macs(CoreLayout((4, 8, 8, 4), (4, 8, 8, 4), (2, 2, 2)))
      81920
    """
    return (factors if isinstance(factors, CoreLayout) else CoreLayout.of(factors)).macs


def check_contraction(contraction: str) -> None:
    """Refuse an unknown contraction."""
    if contraction not in CONTRACTIONS:
        raise InputError(f"contraction = {contraction!r}: must be one of {', '.join(CONTRACTIONS)}")


def _of_one_type(*arrays: jax.Array) -> list[jax.Array]:
    dtype = promoted(*arrays)
    return [array.astype(dtype) for array in arrays]
