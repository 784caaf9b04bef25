"""Memories that are asked by content: many patterns in one set of connections, or many pairs in one vector.

Modern Hopfield network (H. Ramsauer et al., arXiv 2008.02217), patterns X [P, d], state xi [d]:

    xi' = X^T softmax(beta X xi),   E = -log sum exp(beta X xi)/beta + xi.xi/2 + log(P)/beta + max |x|^2/2

It finds x_i if beta D_i >> ln P, D_i = x_i.x_i - max_j x_i.x_j being its separation; 1/sqrt(d), usual in attention, is
far too small for that. It stores all P d numbers: nothing is compressed. Two matrix products a step, which may be any
store's: ``products``.

Classical Hopfield network (J. J. Hopfield, doi 10.1073/pnas.79.8.2554), patterns of +-1: W = X^T X / d without its
diagonal, xi' = sign(W xi); up to about 0.138 d random patterns (D. J. Amit et al., doi 10.1103/PhysRevLett.55.1530).

Holographic vectors (T. A. Plate, doi 10.1109/72.377968): keys k_j and values v_j bound by circular convolution and
added, sum_j k_j * v_j, each got back by correlation with its key. With keys whose spectrum has modulus 1 ("unitary"), K
pairs leave cos(v_j, answer) = 1/sqrt(K). FHRR are the same as phasors, where binding is a product: phases of light add.

``sampled_product`` estimates A B from s columns drawn by their lengths, with E||A B - C||^2 <= ||A||^2 ||B||^2/s
(P. Drineas et al., doi 10.1137/S0097539704442684).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim.base.errors import InputError
from analogsim.base.random import normal, stream
from analogsim.devices.quantum.register import moduli

Product = Callable[..., jax.Array]

_HIGHEST = lax.Precision.HIGHEST
_MARGIN = 8.0  # of beta D over ln P: others then weigh P e^(-8 - ln P) = 3e-4 together


def separation(patterns: jax.Array) -> jax.Array:
    """D_i ``[P]`` of patterns ``[P, d]``: x_i.x_i less its largest product with another.

    Example:
      >>> separation(jnp.array([[1.0, 0.0], [0.0, 1.0]])).tolist()
      [1.0, 1.0]
    """
    gram = jnp.matmul(patterns, patterns.T, precision=_HIGHEST)
    own = jnp.diagonal(gram)
    return own - jnp.max(jnp.where(jnp.eye(len(gram), dtype=bool), -jnp.inf, gram), axis=1)


def memory_beta(patterns: jax.Array) -> jax.Array:
    """beta for which the median pattern is found: beta D = ln P + 8, so that all others weigh 3e-4 together at most."""
    typical = jnp.median(separation(patterns))
    return (jnp.log(len(patterns)) + _MARGIN) / jnp.maximum(typical, 1e-6)


class DenseAssociativeMemory:
    """A modern Hopfield network over given patterns, without learned projections.

    Args:
      patterns: X, ``[P, d]`` with P at least 2.
      beta: inverse temperature; None: ``memory_beta(patterns)``, for recall of single patterns. Smaller ones mix.
      products: functions for X xi (``[..., d]`` to ``[..., P]``) and X^T a (``[..., P]`` to ``[..., d]``), for example
        ``analogsim.program_matrix(X, hardware, key=...)``; None: exact. Those that draw noise take a key as second
        argument, a new one every time, where ``retrieve`` is given one.

    Example:
      >>> patterns = jax.random.normal(jax.random.key(0), (50, 64)) / 8
      >>> memory = DenseAssociativeMemory(patterns)
      >>> noisy = patterns[7] + 0.05 * jax.random.normal(jax.random.key(1), (64,))
      >>> bool(jnp.allclose(memory.retrieve(noisy), patterns[7], atol=1e-2))
      True
    """

    def __init__(self, patterns: jax.Array, beta: Any = None, products: tuple[Product, Product] | None = None):
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
        """The state ``[..., d]`` after so many steps from a query ``[..., d]``.

        Args:
          query: where it starts.
          n_steps: how many steps.
          key: of the noise of products that draw some; None for products that take no key.
        """
        state = query
        for step in range(n_steps):
            names = (f"forward {step}", f"transposed {step}")
            keys = [() if key is None else (stream(key, name),) for name in names]
            state = self.transposed(jax.nn.softmax(self.beta * self.forward(state, *keys[0]), axis=-1), *keys[1])
        return state

    def nearest(self, query: jax.Array, n_steps: int = 1, key: jax.Array | None = None) -> jax.Array:
        """The number ``[...]`` of the pattern that is retrieved; arguments as of ``retrieve``."""
        found = self.retrieve(query, n_steps, key)
        far = jnp.sum(self.patterns**2, axis=-1) - 2 * jnp.matmul(found, self.patterns.T, precision=_HIGHEST)
        return jnp.argmin(far, axis=-1)

    def energy(self, state: jax.Array) -> jax.Array:
        """E ``[...]`` of states ``[..., d]``, by exact products: no exact step raises it; at least 0."""
        scores = jnp.matmul(state, self.patterns.T, precision=_HIGHEST)
        fit = jax.nn.logsumexp(self.beta * scores, axis=-1) / self.beta
        longest = jnp.max(jnp.sum(self.patterns**2, axis=-1))
        return -fit + jnp.sum(state**2, axis=-1) / 2 + jnp.log(len(self.patterns)) / self.beta + longest / 2


def hebbian(patterns: jax.Array) -> jax.Array:
    """Connections ``[d, d]`` of patterns of +-1 ``[P, d]``: X^T X / d, no self-connection."""
    weights = jnp.matmul(patterns.T, patterns, precision=_HIGHEST) / patterns.shape[1]
    return weights * (1 - jnp.eye(len(weights), dtype=weights.dtype))


def settle(weights: jax.Array, state: jax.Array, n_sweeps: int = 20) -> jax.Array:
    """The state ``[..., d]`` of +-1 after sweeps over all units, one after another; a field of zero changes nothing.

    Example:
      >>> pattern = jnp.array([1.0, -1.0, 1.0, -1.0, 1.0, 1.0])
      >>> settle(hebbian(pattern[None]), pattern.at[0].set(-1.0)).tolist()
      [1.0, -1.0, 1.0, -1.0, 1.0, 1.0]
    """

    def unit(i: Any, held: jax.Array) -> jax.Array:
        drive = jnp.einsum("...d,d->...", held, weights[i], precision=_HIGHEST)
        return held.at[..., i].set(jnp.where(drive == 0, held[..., i], jnp.sign(drive)))

    return lax.fori_loop(0, n_sweeps, lambda _, held: lax.fori_loop(0, len(weights), unit, held), state)


def unitary_keys(key: jax.Array, n: int, d: int) -> jax.Array:
    """Real vectors ``[n, d]`` of length 1 whose discrete spectrum has modulus 1: binding with them is a rotation."""
    half = d // 2 + 1
    phases = jax.random.uniform(stream(key, "keys"), (n, half), minval=-jnp.pi, maxval=jnp.pi)
    real = np.zeros(half, bool)
    real[0], real[-1] = True, d % 2 == 0  # a real vector's constant and fastest parts are +-1
    return jnp.fft.irfft(jnp.where(real, jnp.where(phases < 0, -1.0, 1.0), jnp.exp(1j * phases)), n=d, axis=-1)


def bind(a: jax.Array, b: jax.Array) -> jax.Array:
    """Circular convolution of real vectors ``[..., d]``; of phasors (complex) their product."""
    if jnp.iscomplexobj(a):
        return a * b
    return jnp.fft.irfft(jnp.fft.rfft(a) * jnp.fft.rfft(b), n=a.shape[-1])


def unbind(bound: jax.Array, a: jax.Array) -> jax.Array:
    """Circular correlation with ``a``: undoes ``bind`` exactly where a is unitary, else up to noise.

    Example:
      >>> key, value = unitary_keys(jax.random.key(0), 2, 16)
      >>> bool(jnp.allclose(unbind(bind(key, value), key), value, atol=1e-6))
      True
    """
    if jnp.iscomplexobj(a):
        return bound * jnp.conj(a)
    return jnp.fft.irfft(jnp.fft.rfft(bound) * jnp.conj(jnp.fft.rfft(a)), n=bound.shape[-1])


def bundle(vectors: jax.Array) -> jax.Array:
    """The sum ``[..., d]`` of vectors ``[..., K, d]``: all of them in one."""
    return jnp.sum(vectors, axis=-2)


def cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    """Cosine ``[...]`` of the angle between vectors ``[..., d]``, its real part for phasors; 0 for zeros."""
    product = jnp.real(jnp.sum(a * jnp.conj(b), axis=-1))
    lengths = moduli(jnp.sum(jnp.abs(a) ** 2, -1)) * moduli(jnp.sum(jnp.abs(b) ** 2, -1))
    return product / jnp.where(lengths > 0, lengths, 1.0)


def cleanup(noisy: jax.Array, known: jax.Array) -> jax.Array:
    """The number ``[...]`` of the known vector ``[V, d]`` that is nearest in angle to ``[..., d]``."""
    # The length of what is asked with changes no order; one product, not all pairs with all their components.
    lengths = moduli(jnp.sum(jnp.abs(known) ** 2, -1))
    fits = jnp.real(jnp.matmul(noisy, jnp.conj(known).T, precision=_HIGHEST))
    return jnp.argmax(fits / jnp.where(lengths > 0, lengths, 1.0), axis=-1)


def sampled_product(key: jax.Array, a: jax.Array, b: jax.Array, samples: int) -> jax.Array:
    """An unbiased estimate of ``a @ b`` from columns of a ``[m, k]`` and rows of b, drawn by ||column||^2.

    Example:
      >>> a, b = jnp.array([[2.0, 0.0]]), jnp.array([[3.0], [5.0]])
      >>> sampled_product(jax.random.key(0), a, b, 4).tolist()
      [[6.0]]
    """
    power = jnp.sum(a**2, axis=0)
    drawn = jax.random.categorical(stream(key, "columns"), jnp.log(power), shape=(samples,))
    share = power[drawn] / jnp.sum(power)
    return jnp.matmul(a[:, drawn] / (samples * share), b[drawn], precision=_HIGHEST)


def dense_recall(key: jax.Array, n_patterns: int, d: int, beta: Any = None, noise: Any = 0.1) -> jax.Array:
    """Share of random patterns of length 1 that a modern Hopfield network finds in one step from noisy ones.

    Args:
      key: of patterns and noise.
      n_patterns, d: P and d.
      beta: as of ``DenseAssociativeMemory``.
      noise: standard deviation of a query, times sqrt(d).

    Returns:
      Share of patterns of which the state ends nearer than 0.1.
    """
    x = normal(stream(key, "patterns"), (n_patterns, d))
    x = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
    query = x + noise / np.sqrt(d) * normal(stream(key, "queries"), x.shape)
    found = DenseAssociativeMemory(x, beta).retrieve(query)
    return jnp.mean(jnp.linalg.norm(found - x, axis=-1) < 0.1)


def hopfield_recall(key: jax.Array, n_patterns: int, d: int, flipped: Any = 0.0, n_sweeps: int = 20) -> jax.Array:
    """Share of random +-1 patterns found to 95 % of their units by a classical network, a share of which err first."""
    x = jnp.where(jax.random.bernoulli(stream(key, "patterns"), shape=(n_patterns, d)), 1.0, -1.0)
    wrong = jax.random.bernoulli(stream(key, "queries"), flipped, x.shape)
    found = settle(hebbian(x), jnp.where(wrong, -x, x), n_sweeps)
    return jnp.mean(jnp.mean(found == x, axis=-1) >= 0.95)


def holographic_recall(key: jax.Array, n_pairs: int, d: int, n_known: int = 256, phasors: bool = False) -> jax.Array:
    """Share of K values that are found among ``n_known`` from one vector that all K pairs were added up in."""
    if n_pairs > n_known:
        raise InputError(f"n_pairs = {n_pairs}: must be at most n_known = {n_known}, the values there are")
    if phasors:
        angles = jax.random.uniform(stream(key, "phasors"), (n_known + n_pairs, d), maxval=2 * jnp.pi)
        candidates, keys = jnp.split(jnp.exp(1j * angles), [n_known])
    else:
        candidates = normal(stream(key, "values"), (n_known, d))
        keys = unitary_keys(key, n_pairs, d)
    memory_vector = bundle(bind(keys, candidates[:n_pairs]))
    recalled = cleanup(unbind(memory_vector, keys), candidates)
    return jnp.mean(recalled == jnp.arange(n_pairs))
