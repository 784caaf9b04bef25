"""Exact node voltages of a crossbar with resistive lines: ladders along lines, conjugate gradients between them.

One line is a ladder. Counted from its terminal (source or ground), with r_j the segment before node j, g_j the cell
at node j and h_j the current fed into it, everything beyond a segment is one Norton source (y, s):

    y_j = g_j + q_{j+1} y_{j+1}      s_j = h_j + q_{j+1} s_{j+1}      q_j = 1/(1 + r_j y_j)      (from the open end)
    u_j = q_j (u_{j-1} + r_j s_j)                                  u_{-1} = the terminal's voltage

This is Gaussian elimination of the line's tridiagonal matrix in the only order that neither subtracts nor divides by r:
it keeps its digits in float32, where 1/r = 1 S is added to g = 1e-6 S, and r = 0 is exact.

Between lines, let D = diag(g) hold the cells, A and B the tridiagonal matrices of word and bit lines with their cells,
v the sources, b the bit lines' voltages. Eliminating the word lines leaves

    (B - E) b = s        E = D A^-1 D        s = D A^-1 (r^-1 v at each source)

(A. Chen, IEEE Trans. Electron Devices 60, 1318 (2013), doi 10.1109/TED.2013.2246791, has the node equations; the
elimination is ours.) B contains 1/r. In terms of the currents f = B b that the cells would feed into bit lines the
system reads f - E B^-1 f = s: every entry is finite, also at r = 0, where it becomes f = s. It is positive definite in
the inner product <f, h> = f.B^-1 h, and conjugate gradients in that product are those on B - E preconditioned with B.
Each step costs one ladder along every row and one along every column.

All functions use the coordinates of one corner: node [0, 0] is nearest to its source and to its ground.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.types import Numeric

#: Largest accepted residual, a few rounding errors of a sum of currents; see ``_conjugate_gradients``.
TOLERANCE = {"float32": 2e-6, "float64": 1e-12}


class LineDividers(NamedTuple):
    """Parallel lines of one direction, reduced to their voltage dividers."""

    ohm: jax.Array  #: the segment before each node, ``[nodes]``
    divider: jax.Array  #: q, fraction of a node's voltage that passes the segment, ``[nodes, lines, batch or 1]``


class Network(NamedTuple):
    """An array in corner coordinates, ``m`` word lines by ``n`` bit lines.

    The last axis is that of the input vectors: ``batch`` if each has separate cells, otherwise 1.
    """

    g: jax.Array  #: cells, ``[m, n, batch or 1]``
    word: LineDividers  #: ``[n, m, batch or 1]``
    bit: LineDividers  #: ``[m, n, batch or 1]``


class NetworkSolution(NamedTuple):
    """Solution for ``batch`` sets of source voltages."""

    currents: jax.Array  #: at the grounds, ``[n, batch]``
    word: Any  #: node voltages, ``[m, n, batch]``; None if not requested
    bit: Any  #: node voltages, ``[m, n, batch]``; None if not requested
    iterations: jax.Array  #: conjugate-gradient steps, scalar
    residual: jax.Array  #: relative residual of each set, ``[batch]``


def line(g: jax.Array, ohm: jax.Array) -> LineDividers:
    """Return the dividers of lines of cells ``g`` ``[nodes, lines, ...]`` and segments ``ohm`` ``[nodes]``, terminal
    first."""

    def node(beyond: jax.Array, here: Any) -> Any:
        cell, r = here
        y = cell + beyond
        q = 1 / (1 + r * y)
        return q * y, q

    return LineDividers(ohm, lax.scan(node, jnp.zeros_like(g[0]), (g, ohm), reverse=True)[1])


def network(g: jax.Array, word_ohm: jax.Array, bit_ohm: jax.Array) -> Network:
    """Return the network of cells ``g`` ``[m, n, batch or 1]``.

    ``word_ohm`` ``[n]`` and ``bit_ohm`` ``[m]`` are the segments of a word line and of a bit line, terminal first.
    """
    return Network(g, line(jnp.swapaxes(g, 0, 1), word_ohm), line(g, bit_ohm))


def turned(net: Network) -> Network:
    """Return the same array driven at its outputs and read at its inputs."""
    return Network(jnp.swapaxes(net.g, 0, 1), net.bit, net.word)


def voltages(at: LineDividers, feed: jax.Array, terminal: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return node voltages of lines fed at their nodes, and the currents out of terminals at zero volts.

    Args:
      at: the lines.
      feed: current into each node, ``[nodes, lines, batch]``.
      terminal: voltage of each line's terminal, ``[lines, batch]``.

    Returns:
      Voltages ``[nodes, lines, batch]``, and the terminal currents ``[lines, batch]`` due to ``feed`` alone.
    """

    def gather(beyond: jax.Array, here: Any) -> Any:
        h, q = here
        s = h + beyond
        return q * s, s

    def distribute(before: jax.Array, here: Any) -> Any:
        s, q, r = here
        u = q * (before + r * s)
        return u, u

    out, s = lax.scan(gather, jnp.zeros_like(feed[0]), (feed, at.divider), reverse=True)
    return lax.scan(distribute, terminal, (s, at.divider, at.ohm))[1], out


def _grounded(at: LineDividers, feed: jax.Array) -> jax.Array:
    return voltages(at, feed, jnp.zeros_like(feed[0]))[0]


def _words(net: Network, feed: jax.Array, v: Numeric = 0.0) -> jax.Array:
    """Return word line voltages for sources ``v`` ``[m, batch]`` and feeds ``feed``; both ``[m, n, batch]``."""
    feed = jnp.swapaxes(feed, 0, 1)
    sources = jnp.broadcast_to(jnp.asarray(v, feed.dtype), feed.shape[1:])
    return jnp.swapaxes(voltages(net.word, feed, sources)[0], 0, 1)


def _raise(net: Network, bit: jax.Array) -> jax.Array:
    """Return E b: the current that returns through the cells because the bit lines raise the word lines."""
    return net.g * _words(net, net.g * bit)


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.sum(a * b, axis=(0, 1))


def _norm(a: jax.Array) -> jax.Array:
    return jnp.sqrt(_dot(a, a))


def _ratio(a: jax.Array, b: jax.Array) -> jax.Array:
    # The inner where avoids 0/0, which ``jax_debug_nans`` would report although it is not used.
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)


def _matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    # By default GPUs and TPUs multiply matrices in TF32 or bfloat16, too coarse for residuals and eigenvalues near 1.
    return jnp.matmul(a, b, precision="highest")


class SlowModes(NamedTuple):
    """Fields that conjugate gradients find slowly, because E B^-1 hardly changes them; all ``[m, n, modes]``."""

    f: jax.Array
    applied: jax.Array  #: f - E B^-1 f
    test: jax.Array  #: B^-1 f/(1 - eigenvalue): its product with a residual is the amplitude of f in the solution


def slow_modes(net: Network) -> SlowModes:
    """Return approximately the slowest 16 modes of a network whose cells are the same for all vectors.

    Currents that vary slowly along both lines converge last. E B^-1 is applied once to products of a quarter wave and
    its harmonics, zero at the terminals, and the eigenvalue problem is solved in the space that they span.
    """
    m, n, _ = net.g.shape
    waves = [jnp.sin(jnp.arange(0.5, size)[:, None] / size * jnp.arange(0.5, 4)[None] * jnp.pi) for size in (m, n)]
    f = net.g * (waves[0][:, None, :, None] * waves[1][None, :, None, :]).reshape(m, n, -1).astype(net.g.dtype)
    f = _raise(net, _grounded(net.bit, f))
    f = _ratio(f, _norm(f)[None, None])
    lifted = _grounded(net.bit, f)
    raised = _raise(net, lifted)

    def products(a: jax.Array) -> jax.Array:
        """Return all scalar products <a, f>, symmetrised because rounding breaks their symmetry."""
        x = jnp.tensordot(a, lifted, ((0, 1), (0, 1)), precision="highest")
        return (x + x.T) / 2

    # An orthonormal basis without directions that are only rounding errors: an array may have fewer modes.
    weight, basis = jnp.linalg.eigh(products(f))
    # eigh sorts in ascending order. Directions left out become columns of zeros, because sizes are static under jit.
    basis = basis * jnp.sqrt(_ratio((weight > 1e-5 * weight[-1]).astype(weight.dtype), weight))[None]
    value, turn = jnp.linalg.eigh(_matmul(basis.T, _matmul(products(raised), basis)))
    basis = _matmul(basis, turn)
    # Rounding can put an eigenvalue at 1 or above: the amplitude would be infinite or of the wrong sign.
    test = basis * _ratio((value < 1 - 1e-5).astype(value.dtype), 1 - value)[None]
    return SlowModes(_matmul(f, basis), _matmul(f - raised, basis), _matmul(lifted, test))


class _Step(NamedTuple):
    """State of conjugate gradients on f, all ``[m, n, batch]``; ``lifted`` is B^-1 of the preceding quantity."""

    f: jax.Array
    residual: jax.Array
    search: jax.Array
    search_lifted: jax.Array
    gain: jax.Array  #: <residual, residual>, ``[batch]``
    size: jax.Array  #: norm of the residual, ``[batch]``
    steps: jax.Array


def _conjugate_gradients(net: Network, s: jax.Array, tolerance: Numeric, max_iterations: int, slow: Any = None) -> Any:
    """Solve f - E B^-1 f = s for every ``s`` ``[m, n, batch]``; return (f, (steps, relative residuals)).

    If lines lose most of the voltage, f and E B^-1 f are many times larger than their difference s (15 times at 10 ohm
    per segment between cells of 0.01 to 1 S), and each has a rounding error eps, on any processor. The residual is
    therefore relative to

        ||s|| + 2 eps/TOLERANCE (||f|| + ||E B^-1 f||)

    so that rounding alone stays below ``TOLERANCE``: it makes 0.5 to 0.9 eps (||s|| + ||f|| + ||E B^-1 f||), measured
    for 24 x 20 to 128 x 128 and 30 x 200 cells. If the residual stays above ``tolerance``, f is NaN.
    """
    # Normalised, because squares of a small current or cotangent underflow float32, and zero would pass as converged.
    peak = jnp.max(jnp.abs(s), axis=(0, 1))
    peak = jnp.where(peak == 0, 1, peak)
    s = s / peak[None, None]
    scale = _norm(s)
    target = tolerance / 4 * scale  # stricter than required: rounding may keep the true residual slightly above

    def advance(step: _Step) -> _Step:
        applied = step.search - _raise(net, step.search_lifted)
        # Vectors that have converged stand still, so that a result does not depend on the rest of the batch.
        alpha = jnp.where(step.size > target, _ratio(step.gain, _dot(applied, step.search_lifted)), 0)[None, None]
        residual = step.residual - alpha * applied
        lifted = _grounded(net.bit, residual)
        gain = _dot(residual, lifted)
        beta = _ratio(gain, step.gain)[None, None]
        return _Step(
            step.f + alpha * step.search,
            residual,
            residual + beta * step.search,
            # B^-1 of the new direction: the same recursion, because B^-1 is linear, instead of another ladder.
            lifted + beta * step.search_lifted,
            gain,
            _norm(residual),
            step.steps + 1,
        )

    # f = s is exact if the lines of either direction are perfect, and its residual E B^-1 s needs no subtraction.
    f, r = s, _raise(net, _grounded(net.bit, s))
    if slow is not None:
        amplitude = jnp.tensordot(slow.test, r, ((0, 1), (0, 1)), precision="highest")
        # Both in full precision: a residual that does not belong to f would be reported as not converged.
        f, r = f + _matmul(slow.f, amplitude), r - _matmul(slow.applied, amplitude)
    lifted = _grounded(net.bit, r)
    start = _Step(f, r, r, lifted, _dot(r, lifted), _norm(r), jnp.zeros((), jnp.int32))
    # A NaN compares as finished, so the loop ends; the last jnp.where passes the NaN on.
    end = lax.while_loop(lambda step: jnp.any(step.size > target) & (step.steps < max_iterations), advance, start)
    raised = _raise(net, _grounded(net.bit, end.f))
    rounding = 2 * float(jnp.finfo(s.dtype).eps) / TOLERANCE[s.dtype.name]
    reference = scale + rounding * (_norm(end.f) + _norm(raised))
    residual = _norm(s - end.f + raised) / jnp.where(scale == 0, 1, reference)
    return jnp.where(residual <= tolerance, end.f * peak[None, None], jnp.nan), (end.steps, residual)


def fields(
    net: Network, v: jax.Array, tolerance: Numeric, max_iterations: int, *, nodes: bool = True, slow: Any = None
) -> NetworkSolution:
    """Solve for currents and node voltages; differentiable in both arrays, any number of times.

    Derivatives come from the adjoint system, solved to the same tolerance: lines and cells enter through the matrix,
    so that dI_k/dG_ij = -(w - b)_ij (w' - b')_ij, where w', b' are the voltages with one volt at the k-th ground only.

    Args:
      net: the array.
      v: source voltages, ``[m, batch]``.
      tolerance: largest accepted relative residual.
      max_iterations: largest number of conjugate-gradient steps.
      nodes: whether to return node voltages.
      slow: ``slow_modes(net)``, which saves steps if there are many vectors; None without.
    """

    def matrix(f: jax.Array) -> jax.Array:
        return f - _raise(net, _grounded(net.bit, f))

    def solve(_: Any, s: jax.Array) -> Any:
        return _conjugate_gradients(net, s, tolerance, max_iterations, slow)

    def solve_transposed(_: Any, t: jax.Array) -> Any:
        # (1 - B^-1 E) x = t has the solution x = t + B^-1 f with f - E B^-1 f = E t: the same system.
        f, info = _conjugate_gradients(net, _raise(net, t), tolerance, max_iterations, slow)
        return t + _grounded(net.bit, f), info

    no_feed = jnp.zeros((*net.g.shape[:2], v.shape[-1]), v.dtype)
    s = net.g * _words(net, no_feed, v)
    # Because JAX cannot differentiate a while_loop backwards; the adjoint is solved by the same iteration.
    f, (count, residual) = lax.custom_linear_solve(matrix, s, solve, solve_transposed, has_aux=True)
    bit, currents = voltages(net.bit, f, jnp.zeros_like(f[0]))
    word = _words(net, net.g * bit, v) if nodes else None
    return NetworkSolution(currents, word, bit if nodes else None, count, residual)


def cell_voltages(net: Network, emf: jax.Array, tolerance: Numeric, max_iterations: int) -> jax.Array:
    """Return voltages across cells with sources ``emf`` ``[m, n, batch]`` in series, all terminals at zero volts.

    They solve x + R G x = emf, with R c the voltage that both lines lose to currents c. NaN if not converged. Not meant
    to be differentiated.
    """
    # A source in series with a cell is a current G emf in parallel, out of the word line and into the bit line.
    e = net.g * emf
    f, _ = _conjugate_gradients(net, e - net.g * _words(net, e), tolerance, max_iterations)
    bit = _grounded(net.bit, f)
    return emf + _words(net, net.g * bit - e) - bit
