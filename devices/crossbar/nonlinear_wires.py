"""Crossbars with resistive lines and non-ohmic cells, whose current I(G, u) is not proportional to the voltage u.

Currents c of the cells lose the voltage R c along their two lines (``wires`` has the network and its source), so that

    u + R I(G, u) = v          R c = voltage lost by c along the word line and along the bit line, v the inputs

for every cell. Newton's method replaces cells by their differential conductances D = dI/du,

    u <- u + (1 + R D)^-1 missing          missing = v - u - R I(G, u)

Each step solves the linear network (``line_solver``) approximately; a step after which more is missing is halved. R is
positive semi-definite and D >= 0, so that there is one solution; perfect lines are R = 0. Derivatives come from the
implicit-function theorem: the same linear network, solved once.

The iteration ends if the voltage missing from Kirchhoff's second law is small in every cell's loop, or if Newton's next
correction is, which is the error to first order: if R D is large, rounding alone makes the missing voltage larger than
the error of u.

No unconverged result is returned: an InputError is raised, or, inside ``jit`` and ``vmap``, the result is NaN.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import Partial

from analogsim.base.errors import InputError
from analogsim.base.field_rules import Number
from analogsim.devices.crossbar import line_solver
from analogsim.devices.crossbar import wires as linear
from analogsim.devices.crossbar.line_solver import LineDividers
from analogsim.devices.crossbar.wires import Solution, Wires

#: Relative tolerance of the linear solution of a Newton step.
_STEP_TOLERANCE = 1e-3
#: Smallest fraction to which a Newton step is halved.
_SHORTEST_STEP = 1e-4

Law = Callable[[jax.Array, jax.Array], jax.Array]


def sinh_law(scale_v: Any) -> Law:
    """Return the law I = G V0 sinh(V/V0): ohmic with G for voltages far below V0, exponential far above.

    Args:
      scale_v: V0, V.

    Raises:
      InputError: if ``scale_v`` is not greater than 0.

    Example:
      >>> float(sinh_law(0.25)(1e-4, 0.0))
      0.0
    """
    Number(gt=0.0, unit="V").check(scale_v, "scale_v")
    return Partial(_sinh, scale_v)


def _sinh(scale_v: Any, g: jax.Array, u: jax.Array) -> jax.Array:
    # Overflows float32 beyond 89 V0: the missing voltage is then infinite or NaN, which counts as a step too far.
    return g * scale_v * jnp.sinh(u / scale_v)


def solve_nonlinear(
    wires: Wires, g: jax.Array, v: jax.Array, law: Law, *, tolerance: float | None = None, max_iterations: int = 40
) -> Solution:
    """Solve for currents and node voltages of an array of non-ohmic cells.

    Computes in float64 for float64 conductances, otherwise in float32. Differentiable, forwards and backwards and any
    number of times, with respect to ``wires``, ``g``, ``v`` and the arrays in ``law``. Usually two to four Newton
    steps are enough, up to eight for a selector (sinh with V0 = 30 mV at 0.5 V); it may fail if cells at the full input
    would draw a million times the current that their lines can carry.

    Args:
      wires: resistances, ohm.
      g: conductances as ``law`` defines them, S, shape ``[..., n_in, n_out]``; leading axes are separate arrays.
      v: input voltages, V, shape ``[..., batch, n_in]`` with the same leading axes.
      law: ``law(g, u)`` is the current (A) of cells ``g`` (S) at voltages ``u`` (V) of either sign, element by element:
        smooth, zero at zero and non-decreasing. For example ``MiloReRAM().current``, ``sinh_law(0.2)``, or a function.
        Pass the same function object again: a new one is compiled again.
      tolerance: largest accepted ``Solution.residual``; default 2e-6 in float32 and 1e-12 in float64.
      max_iterations: largest number of Newton steps.

    Returns:
      ``Solution``. ``iterations`` counts Newton steps. ``residual`` is the largest voltage missing from Kirchhoff's
      second law in any loop through a cell, or the largest correction of the last Newton step if that is smaller, as a
      fraction of the largest input.

    Raises:
      InputError: for wrong shapes or values, and if the residual stays above ``tolerance``.

    Example:
      >>> import jax.numpy as jnp
      >>> wires = Wires(word_line_ohm=2.93, bit_line_ohm=2.93)
      >>> solve_nonlinear(wires, jnp.full((8, 4), 1e-4), jnp.full((1, 8), 0.3), sinh_law(0.2)).currents.shape
      (1, 4)
    """
    g, limit = linear.checked(wires, g, tolerance, max_iterations)
    v = linear.checked_voltages(g, v)
    if not callable(law):
        raise InputError(f"law = {law!r}: must be a function of conductance (S) and voltage (V)")
    solution = _solve(wires, g, v, _as_pytree(law), limit, max_iterations)
    linear.require_converged(solution.residual, limit, max_iterations)
    return solution


def _as_pytree(law: Law) -> Partial:
    """Return ``law`` with its numbers as leaves, so that other numbers of the same law share a compilation."""
    # Partial takes its function as static: a method bound to a pytree (``MiloReRAM().current``) would be compiled for
    # each of its owner's numbers. A plain object is a leaf itself, and its method stays static.
    owner = getattr(law, "__self__", None)
    if owner is not None and not jax.tree_util.all_leaves([owner]):
        return Partial(law.__func__, owner)  # type: ignore[attr-defined]
    return law if isinstance(law, Partial) else Partial(law)


class _Lines(NamedTuple):
    """The segments of a word line and of a bit line, in the solver's order and unit."""

    word: jax.Array
    bit: jax.Array


def _lost(lines: _Lines, c: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return voltages lost along word lines, and along bit lines, by cell currents ``c``; all ``[m, n, batch]``."""

    def along(ohm: jax.Array, c: jax.Array) -> jax.Array:
        # Without cells nothing branches off: every divider is 1.
        without_cells = LineDividers(ohm, jnp.ones((ohm.size, 1, 1), ohm.dtype))
        return line_solver.voltages(without_cells, c, jnp.zeros_like(c[0]))[0]

    return jnp.swapaxes(along(lines.word, jnp.swapaxes(c, 0, 1)), 0, 1), along(lines.bit, c)


def _largest(x: jax.Array) -> jax.Array:
    return jnp.max(jnp.abs(x), (0, 1))


class _Step(NamedTuple):
    """State of Newton's method; voltages are ``[m, n, batch]``, all else ``[batch]``."""

    u: jax.Array
    missing: jax.Array
    residual: jax.Array  #: the smaller of the largest missing voltage and the largest Newton correction
    active: jax.Array  #: whether to continue
    steps: jax.Array


def _newton(
    current: Any, conductance: Any, lines: _Lines, v: jax.Array, target: jax.Array, max_iterations: int
) -> _Step:
    """Iterate cell voltages for inputs ``v`` ``[m, batch]`` until the residual is at most ``target`` ``[batch]``."""

    def missing(u: jax.Array) -> jax.Array:
        word, bit = _lost(lines, current(u))
        return v[:, None] - u - word - bit

    def advance(step: _Step) -> _Step:
        net = line_solver.network(conductance(step.u), *lines)
        # Solved roughly: far from the root, the exact solution of the linearised network is no better a step.
        direction = line_solver.cell_voltages(net, step.missing, _STEP_TOLERANCE, 300)
        size, correction = _largest(step.missing), _largest(direction)

        def attempt(fraction: jax.Array) -> tuple:
            u = step.u + fraction[None, None] * direction
            now = missing(u)
            return fraction, u, now, _largest(now)

        def too_far(tried: tuple) -> jax.Array:
            fraction, *_, now = tried
            return (fraction >= _SHORTEST_STEP) & ~(now < size)  # negated, so that a NaN is too far as well

        def shorten(tried: tuple) -> tuple:
            return attempt(jnp.where(too_far(tried), tried[0] / 2, tried[0]))

        # Vectors that have converged take no further step, so a result does not depend on the rest of the batch.
        full = attempt(step.active.astype(v.dtype))
        _, u, now, new_size = lax.while_loop(lambda tried: jnp.any(too_far(tried)), shorten, full)
        better = new_size < size
        residual = jnp.where(step.active, jnp.minimum(new_size, correction), step.residual)
        return _Step(
            jnp.where(better, u, step.u),
            jnp.where(better, now, step.missing),
            residual,
            step.active & better & (residual > target),
            step.steps + 1,
        )

    # From zero volts, where the first step solves the network of the cells' conductances at small signals.
    u = jnp.zeros((lines.bit.size, lines.word.size, v.shape[1]), v.dtype)
    now = missing(u)
    start = _Step(u, now, _largest(now), _largest(now) > target, jnp.zeros((), jnp.int32))
    return lax.while_loop(lambda step: jnp.any(step.active) & (step.steps < max_iterations), advance, start)


def _differential_conductance(current: Any, u: jax.Array) -> jax.Array:
    """Return dI/du of every cell."""
    return jax.jvp(current, (u,), (jnp.ones_like(u),))[1]


def _cell_voltages(current: Any, lines: _Lines, v: jax.Array, limit: float, max_iterations: int) -> tuple:
    """Return cell voltages for inputs ``v`` ``[m, batch]``, the number of Newton steps, and the relative residual.

    ``current`` maps cell voltages to currents in the inverse unit of ``lines``. Voltages are NaN if not converged.
    """
    # The iteration itself runs on constants: custom_root below supplies the derivatives of its result.
    fixed_lines, fixed_v = lax.stop_gradient((lines, v))
    scale = jnp.max(jnp.abs(fixed_v), 0)

    def fixed_current(u: jax.Array) -> jax.Array:
        return lax.stop_gradient(current(u))

    def fixed_conductance(u: jax.Array) -> jax.Array:
        return lax.stop_gradient(_differential_conductance(current, u))

    end = _newton(fixed_current, fixed_conductance, fixed_lines, fixed_v, limit * scale, max_iterations)
    residual = end.residual / jnp.where(scale == 0, 1, scale)
    root = jnp.where(residual <= limit, end.u, jnp.nan)
    conductance = fixed_conductance(root)
    net = line_solver.network(conductance, *fixed_lines)

    def excess(u: jax.Array) -> jax.Array:
        word, bit = _lost(lines, current(u))
        return u + word + bit - v[:, None]

    # On constants: custom_linear_solve differentiates ``linearised`` and calls ``solve`` for values only.
    def solve(_: Any, y: jax.Array) -> jax.Array:
        return line_solver.cell_voltages(net, y, limit, 300)

    def solve_transposed(_: Any, y: jax.Array) -> jax.Array:
        # (1 + D R) x = y has the solution x = y - D z with (1 + R D) z = R y.
        word, bit = _lost(fixed_lines, y)
        return y - conductance * line_solver.cell_voltages(net, word + bit, limit, 300)

    def tangent(linearised: Any, y: jax.Array) -> jax.Array:
        return lax.custom_linear_solve(linearised, y, solve, solve_transposed)

    # custom_root returns the converged voltages unchanged and only adds their derivatives.
    u = lax.custom_root(excess, root, lambda _, guess: guess, tangent)
    return u, end.steps, residual


# Compiled here, because an eager lax.while_loop is compiled again at every call.
@functools.partial(jax.jit, static_argnames=("limit", "steps"))
def _solve(wires: Wires, g: jax.Array, v: jax.Array, law: Partial, limit: float, steps: int) -> Solution:
    def one(g: jax.Array, v: jax.Array) -> Solution:
        unit = linear.unit_conductance(g)
        lines = _Lines(*(ohm * unit for ohm in linear.segments(wires, g.shape, g.dtype)))
        cells = linear.at_corner(wires, g)[:, :, None]

        def current(u: jax.Array) -> jax.Array:
            c = law(cells, u)
            if jnp.shape(c) != u.shape:
                raise InputError(f"law returns shape {jnp.shape(c)} for voltages {u.shape}: must be element-wise")
            return (c / unit).astype(u.dtype)

        def few(v: jax.Array) -> tuple:
            u, count, residual = _cell_voltages(current, lines, v, limit, steps)
            c = current(u)
            word, bit = _lost(lines, c)
            # The cells' currents are added: the voltage over the last segment by its resistance is 0/0 if perfect.
            return jnp.sum(c, 0) * unit, v[:, None] - word, bit, count, residual

        corner = linear.at_corner(wires, v.T, rows=0, columns=None)
        currents, word, bit, count, residual = linear.in_rounds(few, corner, g.size)
        word, bit = (linear.at_corner(wires, jnp.moveaxis(x, -1, 0)) for x in (word, bit))
        return Solution(linear.at_corner(wires, currents.T, rows=None), word, bit, count, residual)

    return linear.map_arrays(one, g, v)
