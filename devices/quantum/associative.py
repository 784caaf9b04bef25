"""Associative memories: many patterns in one set of connections, or many key-value pairs in one vector.

Modern Hopfield network (H. Ramsauer et al., arXiv 2008.02217), patterns X [P, d], state xi [d]:

    xi' = X^T softmax(beta X xi),   E = -log sum exp(beta X xi)/beta + xi.xi/2 + log(P)/beta + max |x|^2/2

It retrieves x_i if beta D_i >> ln P, where D_i = x_i.x_i - max_j x_i.x_j is its separation; the 1/sqrt(d) of attention
is far too small for that. The network stores all P d numbers, without compression. A step takes two matrix products,
which may run on any weight store: ``products``.

Classical Hopfield network (J. J. Hopfield, doi 10.1073/pnas.79.8.2554), patterns of +-1: W = X^T X / d without its
diagonal, xi' = sign(W xi); up to about 0.138 d random patterns (D. J. Amit et al., doi 10.1103/PhysRevLett.55.1530).

Holographic vectors (T. A. Plate, doi 10.1109/72.377968): keys k_j and values v_j bound by circular convolution and
added, sum_j k_j * v_j; correlation with its key recovers a value. With keys whose spectrum has modulus 1 ("unitary"), K
pairs leave cos(v_j, answer) = 1/sqrt(K). FHRR is the same with phasors, for which binding is a product: optical phases
add.

``sampled_product`` estimates A B from s columns drawn by their norms, with E||A B - C||^2 <= ||A||^2 ||B||^2/s
(P. Drineas et al., doi 10.1137/S0097539704442684).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim.base.dtypes import to_complex, to_rank
from analogsim.base.errors import InputError
from analogsim.base.random import normal, stream
from analogsim.base.types import Numeric
from analogsim.devices.quantum.register import moduli

Product = Callable[..., jax.Array]

_HIGHEST = lax.Precision.HIGHEST
_MARGIN = 8.0  # of beta D over ln P: all other patterns then have a total weight of P e^(-8 - ln P) = 3e-4


def separation(patterns: jax.Array) -> jax.Array:
    """Return the separation D_i ``[P]`` of patterns ``[P, d]``: x_i.x_i minus the largest product with another pattern.

    Example:
      >>> separation(jnp.array([[1.0, 0.0], [0.0, 1.0]])).tolist()
      [1.0, 1.0]
    """
    gram = jnp.matmul(patterns, patterns.T, precision=_HIGHEST)
    own = jnp.diagonal(gram)
    return own - jnp.max(jnp.where(jnp.eye(len(gram), dtype=bool), -jnp.inf, gram), axis=1)


def memory_beta(patterns: jax.Array) -> jax.Array:
    """Return the beta that retrieves the median pattern of ``[P, d]``: beta D = ln P + 8.

    All other patterns then have a total weight of at most 3e-4.
    """
    typical = jnp.median(separation(patterns))
    return (jnp.log(len(patterns)) + _MARGIN) / jnp.maximum(typical, 1e-6)


class DenseAssociativeMemory:
    """A modern Hopfield network over given patterns, without learned projections.

    Args:
      patterns: X, ``[P, d]`` with P at least 2.
      beta: inverse temperature; None: ``memory_beta(patterns)``, for recall of single patterns. Smaller values mix
        patterns.
      products: functions for X xi (``[..., d]`` to ``[..., P]``) and X^T a (``[..., P]`` to ``[..., d]``), for example
        ``analogsim.program_matrix(X, hardware, key=...)``; None: digital products. If ``retrieve`` is given a key, it
        passes each call a new key as second argument.

    Raises:
      InputError: if there are fewer than 2 patterns, or if ``beta`` is not positive.

    Example:
      >>> patterns = jax.random.normal(jax.random.key(0), (50, 64)) / 8
      >>> memory = DenseAssociativeMemory(patterns)
      >>> noisy = patterns[7] + 0.05 * jax.random.normal(jax.random.key(1), (64,))
      >>> bool(jnp.allclose(memory.retrieve(noisy), patterns[7], atol=1e-2))
      True
    """

    def __init__(
        self, patterns: jax.Array, beta: Numeric | None = None, products: tuple[Product, Product] | None = None
    ):
        if jnp.ndim(patterns) != 2 or len(patterns) < 2:
            raise InputError(f"patterns of shape {jnp.shape(patterns)}: must be [P, d] with at least 2 patterns")
        self.patterns = jnp.asarray(patterns)
        self.beta = memory_beta(self.patterns) if beta is None else beta
        if not isinstance(self.beta, jax.core.Tracer) and not np.all(np.asarray(self.beta) > 0):
            raise InputError(f"beta = {beta!r}: must be greater than 0")
        self.forward, self.transposed = products or (
            lambda x: jnp.matmul(x, self.patterns.T, precision=_HIGHEST),
            lambda a: jnp.matmul(a, self.patterns, precision=_HIGHEST),
        )

    def retrieve(self, query: jax.Array, n_steps: int = 1, key: jax.Array | None = None) -> jax.Array:
        """Return the state ``[..., d]`` after ``n_steps`` steps from a query.

        Args:
          query: initial state, ``[..., d]``.
          n_steps: number of steps.
          key: of the noise of ``products``; None for products that take no key.
        """
        state = query
        for step in range(n_steps):
            names = (f"forward {step}", f"transposed {step}")
            keys = [() if key is None else (stream(key, name),) for name in names]
            state = self.transposed(jax.nn.softmax(self.beta * self.forward(state, *keys[0]), axis=-1), *keys[1])
        return state

    def nearest(self, query: jax.Array, n_steps: int = 1, key: jax.Array | None = None) -> jax.Array:
        """Return the index ``[...]`` of the pattern nearest to the retrieved state; arguments as of ``retrieve``."""
        state = self.retrieve(query, n_steps, key)
        # Squared distances without |state|^2, which changes no order.
        products = jnp.matmul(state, self.patterns.T, precision=_HIGHEST)
        return jnp.argmin(to_rank(jnp.sum(self.patterns**2, axis=-1), products.ndim) - 2 * products, axis=-1)

    def energy(self, state: jax.Array) -> jax.Array:
        """Return the energy E ``[...]`` of states ``[..., d]`` by digital products; at least 0.

        No step with digital products raises it.
        """
        scores = jnp.matmul(state, self.patterns.T, precision=_HIGHEST)
        fit = jax.nn.logsumexp(self.beta * scores, axis=-1) / self.beta
        longest = jnp.max(jnp.sum(self.patterns**2, axis=-1))
        return -fit + jnp.sum(state**2, axis=-1) / 2 + jnp.log(len(self.patterns)) / self.beta + longest / 2


def hebbian(patterns: jax.Array) -> jax.Array:
    """Return the Hebbian connections ``[d, d]`` of +-1 patterns ``[P, d]``: X^T X / d without its diagonal."""
    weights = jnp.matmul(patterns.T, patterns, precision=_HIGHEST) / patterns.shape[1]
    return weights * (1 - jnp.eye(len(weights), dtype=weights.dtype))


def settle(weights: jax.Array, state: jax.Array, n_sweeps: int = 20) -> jax.Array:
    """Return the +-1 state ``[..., d]`` after sweeps that update all units in sequence; a zero field changes nothing.

    Args:
      weights: connections, ``[d, d]``.
      state: initial state of +-1, ``[..., d]``.
      n_sweeps: number of sweeps.

    Example:
      >>> pattern = jnp.array([1.0, -1.0, 1.0, -1.0, 1.0, 1.0])
      >>> settle(hebbian(pattern[None]), pattern.at[0].set(-1.0)).tolist()
      [1.0, -1.0, 1.0, -1.0, 1.0, 1.0]
    """

    def unit(i: Any, state: jax.Array) -> jax.Array:
        drive = jnp.einsum("...d,d->...", state, weights[i], precision=_HIGHEST)
        return state.at[..., i].set(jnp.where(drive == 0, state[..., i], jnp.sign(drive)))

    return lax.fori_loop(0, n_sweeps, lambda _, state: lax.fori_loop(0, len(weights), unit, state), state)


def unitary_keys(key: jax.Array, n: int, d: int) -> jax.Array:
    """Draw real keys ``[n, d]`` of norm 1 whose discrete spectrum has modulus 1: binding with them is a rotation."""
    half = d // 2 + 1
    phases = jax.random.uniform(stream(key, "keys"), (n, half), minval=-jnp.pi, maxval=jnp.pi)
    real = np.zeros(half, bool)
    real[0], real[-1] = True, d % 2 == 0  # zero and Nyquist frequency of a real vector are real: +-1
    rotations = jnp.exp(1j * to_complex(phases))
    signs = jnp.where(phases < 0, -1.0, 1.0).astype(rotations.dtype)
    return jnp.fft.irfft(jnp.where(real, signs, rotations), n=d, axis=-1)


def bind(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return the circular convolution of real vectors ``[..., d]``, or the product of phasors (complex)."""
    a, b = _of_one_rank(a, b)
    if jnp.iscomplexobj(a):
        return a * b
    return jnp.fft.irfft(jnp.fft.rfft(a) * jnp.fft.rfft(b), n=a.shape[-1])


def unbind(bound: jax.Array, a: jax.Array) -> jax.Array:
    """Return the circular correlation of ``bound`` with ``a``, ``[..., d]``.

    It inverts ``bind`` exactly if ``a`` is unitary, else up to noise.

    Example:
      >>> key, value = unitary_keys(jax.random.key(0), 2, 16)
      >>> bool(jnp.allclose(unbind(bind(key, value), key), value, atol=1e-6))
      True
    """
    bound, a = _of_one_rank(bound, a)
    if jnp.iscomplexobj(a):
        return bound * jnp.conj(a)
    return jnp.fft.irfft(jnp.fft.rfft(bound) * jnp.conj(jnp.fft.rfft(a)), n=bound.shape[-1])


def _of_one_rank(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    return to_rank(a, b.ndim), to_rank(b, a.ndim)


def bundle(vectors: jax.Array) -> jax.Array:
    """Superpose vectors ``[..., K, d]``: return their sum ``[..., d]``."""
    return jnp.sum(vectors, axis=-2)


def cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return the cosine similarity ``[...]`` of vectors ``[..., d]``, its real part for phasors; 0 for zero vectors."""
    a, b = _of_one_rank(a, b)
    product = jnp.real(jnp.sum(a * jnp.conj(b), axis=-1))
    lengths = moduli(jnp.sum(jnp.abs(a) ** 2, -1)) * moduli(jnp.sum(jnp.abs(b) ** 2, -1))
    return product / jnp.where(lengths > 0, lengths, 1.0)


def cleanup(noisy: jax.Array, candidates: jax.Array) -> jax.Array:
    """Return the index ``[...]`` in ``candidates`` ``[V, d]`` of the nearest in angle to ``noisy`` ``[..., d]``."""
    # The norm of ``noisy`` changes no order; one matrix product avoids an array of [..., V, d].
    lengths = moduli(jnp.sum(jnp.abs(candidates) ** 2, -1))
    fits = jnp.real(jnp.matmul(noisy, jnp.conj(candidates).T, precision=_HIGHEST))
    return jnp.argmax(fits / to_rank(jnp.where(lengths > 0, lengths, 1.0), fits.ndim), axis=-1)


def sampled_product(key: jax.Array, a: jax.Array, b: jax.Array, samples: int) -> jax.Array:
    """Return an unbiased estimate of ``a @ b`` from columns of a drawn with probability proportional to ||column||^2.

    Args:
      key: of the draw.
      a: ``[m, k]``.
      b: ``[k, n]``.
      samples: number of drawn columns.

    Example:
      >>> a, b = jnp.array([[2.0, 0.0]]), jnp.array([[3.0], [5.0]])
      >>> sampled_product(jax.random.key(0), a, b, 4).tolist()
      [[6.0]]
    """
    power = jnp.sum(a**2, axis=0)
    drawn = jax.random.categorical(stream(key, "columns"), jnp.log(power), shape=(samples,))
    probability = power[drawn] / jnp.sum(power)
    return jnp.matmul(a[:, drawn] / (samples * probability)[None], b[drawn], precision=_HIGHEST)


def dense_recall(key: jax.Array, n_patterns: int, d: int, beta: Numeric | None = None, noise: Any = 0.1) -> jax.Array:
    """Return the fraction of random unit patterns that a modern Hopfield network retrieves from noisy ones in one step.

    Args:
      key: of patterns and noise.
      n_patterns, d: P and d.
      beta: as of ``DenseAssociativeMemory``.
      noise: standard deviation of a query, times sqrt(d).

    Returns:
      Fraction of patterns whose final state is within a distance of 0.1.
    """
    x = normal(stream(key, "patterns"), (n_patterns, d))
    x = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
    query = x + noise / np.sqrt(d) * normal(stream(key, "queries"), x.shape)
    state = DenseAssociativeMemory(x, beta).retrieve(query)
    return jnp.mean(jnp.linalg.norm(state - x, axis=-1) < 0.1)


def hopfield_recall(key: jax.Array, n_patterns: int, d: int, flipped: Numeric = 0.0, n_sweeps: int = 20) -> jax.Array:
    """Return the fraction of random +-1 patterns that a classical Hopfield network recalls to 95 % of their units.

    Args:
      key: of patterns and queries.
      n_patterns, d: number of patterns and units.
      flipped: fraction of the query's units with the wrong sign.
      n_sweeps: as of ``settle``.
    """
    x = jnp.where(jax.random.bernoulli(stream(key, "patterns"), shape=(n_patterns, d)), 1.0, -1.0)
    wrong = jax.random.bernoulli(stream(key, "queries"), flipped, x.shape)
    state = settle(hebbian(x), jnp.where(wrong, -x, x), n_sweeps)
    return jnp.mean(jnp.mean(state == x, axis=-1) >= 0.95)


def holographic_recall(
    key: jax.Array, n_pairs: int, d: int, n_candidates: int = 256, phasors: bool = False
) -> jax.Array:
    """Return the fraction of K values recalled among ``n_candidates`` candidates from the sum of K bound pairs.

    Args:
      key: of keys and values.
      n_pairs, d: K and the dimension.
      n_candidates: number of candidate values.
      phasors: whether vectors are complex phasors (FHRR).
    """
    if n_pairs > n_candidates:
        raise InputError(
            f"n_pairs = {n_pairs}: must be at most n_candidates = {n_candidates}, the number of candidates"
        )
    if phasors:
        angles = jax.random.uniform(stream(key, "phasors"), (n_candidates + n_pairs, d), maxval=2 * jnp.pi)
        candidates, keys = jnp.split(jnp.exp(1j * to_complex(angles)), [n_candidates])
    else:
        candidates = normal(stream(key, "values"), (n_candidates, d))
        keys = unitary_keys(key, n_pairs, d)
    memory_vector = bundle(bind(keys, candidates[:n_pairs]))
    recalled = cleanup(unbind(memory_vector, keys), candidates)
    return jnp.mean(recalled == jnp.arange(n_pairs))
