"""Wire resistance of a crossbar (IR drop): exact currents, and the effective matrix of the array.

Word line i is driven by V_i at one end and open at the other; bit line j is open at one end and held at zero volts at
the other, where its current is the output. With cells G and segments r_w, r_b, Kirchhoff's law at the nodes w (word
line) and b (bit line) is, for lines driven from the left and read at the bottom,

    (w_i,j-1 - w_ij)/r_w + (w_i,j+1 - w_ij)/r_w = G_ij (w_ij - b_ij)         w_i,-1 = V_i, no segment after the last
    (b_ij - b_i-1,j)/r_b + (b_ij - b_i+1,j)/r_b = G_ij (w_ij - b_ij)         b_m,j = 0, no segment before the first

and I_j = b_m-1,j / r_b (A. Chen, IEEE Trans. Electron Devices 60, 1318 (2013), doi 10.1109/TED.2013.2246791). Cells are
linear, so I = V M exactly with one matrix M of siemens: solve once per programmed array, then multiply. The solver
(``line_solver``) needs no special case for zero resistance, so traced resistances may be zero too.

No unconverged result is returned: an InputError is raised, or, inside ``jit`` and ``vmap`` where values are unknown and
nothing can be raised, currents and voltages are NaN. A derivative whose adjoint system does not converge is NaN too.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from analogsim.base.checks import check_integer
from analogsim.base.description import Description, field, static
from analogsim.base.dtypes import promoted, to_rank
from analogsim.base.errors import InputError
from analogsim.base.literature import Source, cited
from analogsim.devices.crossbar import line_solver
from analogsim.devices.protocol import Moments


class Wires(Description):
    """Wire resistance of an array, the same for all lines of one direction.

    Example:
      >>> import jax.numpy as jnp
      >>> wires = Wires(word_line_ohm=1.0, bit_line_ohm="1 ohm")
      >>> effective_conductance(wires, jnp.full((8, 4), 1e-4)).shape
      (8, 4)
    """

    word_line_ohm: Any = field(unit="ohm", ge=0, doc="word line resistance from cell to cell; 0: perfect line")
    bit_line_ohm: Any = field(unit="ohm", ge=0, doc="bit line resistance from cell to cell; 0: perfect line")
    source_ohm: Any = field(
        default=None, unit="ohm", ge=0, optional=True, doc="from the driver to the first cell; None: as word_line_ohm"
    )
    terminal_ohm: Any = field(
        default=None, unit="ohm", ge=0, optional=True, doc="from the last cell to the readout; None: as bit_line_ohm"
    )
    driven_from: str = static(default="left", choices=("left", "right"), doc="end of the word lines with the drivers")
    read_at: str = static(default="bottom", choices=("bottom", "top"), doc="end of the bit lines with the readout")
    method: str = static(
        default="exact",
        choices=("exact", "approximate"),
        doc="method of ``effective_moments`` for the mean: ``effective_conductance`` or ``approximate_conductance``",
    )

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("chen2013"),)


class Solution(NamedTuple):
    """Solution of the network for each vector of input voltages.

    Attributes:
      currents: into the readout, A, shape ``[..., batch, n_out]``.
      word_v: voltage of the word line at each cell, V, shape ``[..., batch, n_in, n_out]``.
      bit_v: voltage of the bit line at each cell, V, same shape.
      iterations: number of conjugate-gradient steps, shape ``[...]``.
      residual: error of Kirchhoff's current law at the nodes, relative to the currents of the cells (and to the losses
        in the lines, if their rounding limits the accuracy), shape ``[..., batch]``.
    """

    currents: jax.Array
    word_v: jax.Array
    bit_v: jax.Array
    iterations: jax.Array
    residual: jax.Array


def solve(
    wires: Wires, g: jax.Array, v: jax.Array, *, tolerance: float | None = None, max_iterations: int = 300
) -> Solution:
    """Solve for currents and node voltages at given input voltages.

    Computes in float64 for float64 conductances, otherwise in float32. Differentiable with respect to ``wires``, ``g``
    and ``v``, forwards and backwards.

    Args:
      wires: resistances, ohm.
      g: conductances of the cells, S, shape ``[..., n_in, n_out]``; leading axes are separate arrays.
      v: input voltages, V, shape ``[..., batch, n_in]`` with the same leading axes.
      tolerance: largest accepted ``Solution.residual``; default 2e-6 in float32 and 1e-12 in float64.
      max_iterations: largest number of conjugate-gradient steps.

    Returns:
      ``Solution``, with the voltages at all nodes.

    Raises:
      InputError: for wrong shapes or values, and if the residual stays above ``tolerance``.

    Example:
      >>> import jax.numpy as jnp
      >>> solution = solve(Wires(word_line_ohm=2.93, bit_line_ohm=2.93), jnp.full((8, 4), 1e-4), jnp.full((1, 8), 0.3))
      >>> solution.currents.shape
      (1, 4)
    """
    g, limit = checked(wires, g, tolerance, max_iterations)
    v = checked_voltages(g, v)
    solution = _solve(wires, g, v, limit, max_iterations)
    require_converged(solution.residual, limit, max_iterations)
    return solution


def effective_conductance(
    wires: Wires, g: jax.Array, *, tolerance: float | None = None, max_iterations: int = 300
) -> jax.Array:
    """Return the exact effective matrix M with I = V M of cells ``g`` behind resistive lines.

    By reciprocity min(n_in, n_out) solutions are enough: unit voltages at the inputs, or at the outputs. Arguments,
    precision, derivatives and errors are those of ``solve``.

    Args:
      wires: resistances, ohm.
      g: conductances of the cells, S, shape ``[..., n_in, n_out]``; leading axes are separate arrays.
      tolerance: largest accepted relative residual; default 2e-6 in float32 and 1e-12 in float64.
      max_iterations: largest number of conjugate-gradient steps.

    Returns:
      M, S, shape ``[..., n_in, n_out]``; never negative, and no larger than ``g`` in the sum over any row.
    """
    g, limit = checked(wires, g, tolerance, max_iterations)
    effective, residual = _effective(wires, g, limit, max_iterations)
    require_converged(residual, limit, max_iterations)
    return effective


def approximate_conductance(wires: Wires, g: jax.Array) -> jax.Array:
    """Estimate ``effective_conductance`` by two averaged lines, in about the time of one product.

    Every bit line is replaced by one whose cells are the means of the rows, every word line by one whose cells are the
    means of the columns, and each line's divider is expanded to first order in its resistance:

        M_ij = a_i G_ij c_j      a_i = (1 + sum_k (R_k - R_i) g_k) / (1 + sum_k R_k g_k)

    with R_k the resistance from ground to row k and g_k the row's mean, the upper sum over rows beyond i, that is
    with R_k > R_i; c_j likewise along the word line. For equal cells the first order in the resistances is exact.
    (Known as DMR, IEEE Xplore document 9184938; the formula is from a comparison of models, the paper was not read.)

    Error, ||M - exact|| / ||exact||, for cells uniform between 1 and 100 uS and equal segments, with the error of
    ignoring the lines in brackets: 64 x 64 at 1 ohm 0.8 % (15 %), 128 x 128 at 1 ohm 3 % (57 %), 128 x 128 at
    2.93 ohm 11 % (154 %).

    Args:
      wires: resistances, ohm.
      g: conductances of the cells, S, shape ``[..., n_in, n_out]``.

    Returns:
      M, S, shape ``[..., n_in, n_out]``.
    """
    g, _ = checked(wires, g, None, 1)
    word, bit = segments(wires, g.shape[-2:], g.dtype)
    g = at_corner(wires, g)
    rows = _mean_line(jnp.mean(g, -1), bit)
    columns = _mean_line(jnp.mean(g, -2), word)
    return at_corner(wires, rows[..., :, None] * g * columns[..., None, :])


def _mean_line(g: jax.Array, segments: jax.Array) -> jax.Array:
    """Return the first-order dividers of one line of cells ``[..., n]`` and segments ``[n]``, terminal first."""
    ohm = jnp.cumsum(segments)
    # Not max(R_k - R_i, 0), whose derivative is undefined for perfect lines.
    # Rows are in ascending order of R_k, so the upper triangle selects R_k > R_i.
    beyond = jnp.triu(ohm[None, :] - ohm[:, None], 1)
    beyond, ohm = to_rank(beyond, g.ndim + 1), to_rank(ohm, g.ndim)
    return (1 + jnp.sum(beyond * g[..., None, :], -1)) / (1 + jnp.sum(ohm * g, -1, keepdims=True))


def effective_moments(
    wires: Wires, moments: Moments, *, tolerance: float | None = None, max_iterations: int = 300
) -> Moments:
    """Return the effective mean and variance, over reads, of fluctuating cells behind resistive lines.

    The mean is the effective matrix of the cells' means, exact or approximate by ``wires.method``; it neglects the
    second-order shift by fluctuations. The variance of the output is that of all cells times the squared derivatives of
    the output,

        Var I_k = sum_ij (dI_k/dG_ij)^2 Var G_ij

    A variance per matrix entry, to be multiplied with the squares of the inputs, contains only the entry's own cell:

        Var M_ij = (p_ij q_ij)^2 Var G_ij

    with p the fraction of its word line's source voltage that a cell sees if bit lines are perfect, and q the fraction
    of its current that its bit line passes if word lines are perfect. It takes about the time of one product.

    Error of the sum over i of x_i^2 Var M_ij, as variance, for cells uniform between 1 and 100 uS with a proportional
    standard deviation, at equal segments. Inputs of either sign (independent, mean zero): 64 x 64 at 1 ohm +0.8 %
    (ignoring the lines +32 %), 128 x 128 at 2.93 ohm +1.8 % (+910 %). Inputs of one sign load each other's lines, which
    no weighting of their squares can express: +10 % and +41 % on average over outputs, +15 % and +83 % at worst. The
    variance of a cell that is a large part of its lines' load, as in a small array of long segments, is overestimated
    as well: by 2 G R of the variance if G R, with R the resistance of its lines up to it, is small.

    Args:
      wires: resistances, ohm.
      moments: of the cells, S and S^2, ``[..., n_in, n_out]``; a variance of None stays None. ``slow`` is returned
        unchanged.
      tolerance: for the exact mean, as for ``effective_conductance``.
      max_iterations: for the exact mean, as for ``effective_conductance``.

    Raises:
      InputError: for wrong shapes or values, and if the exact mean is not solved to ``tolerance``.

    Example:
      >>> import jax.numpy as jnp
      >>> cells = Moments(jnp.full((8, 4), 1e-4), jnp.full((8, 4), 1e-12))
      >>> effective_moments(Wires(word_line_ohm=2.93, bit_line_ohm=2.93), cells).variance.shape
      (8, 4)
    """
    g, _ = checked(wires, moments.mean, tolerance, max_iterations)
    if wires.method == "approximate":
        mean = approximate_conductance(wires, g)
    else:
        mean = effective_conductance(wires, g, tolerance=tolerance, max_iterations=max_iterations)
    if moments.variance is None:
        return Moments(mean, slow=moments.slow)
    shape = jnp.shape(moments.variance)
    if shape != g.shape:
        raise InputError(f"moments.variance has shape {shape}: must be that of the mean, {g.shape} (unit: S^2)")
    _require(moments.variance, "moments.variance", "S^2", lambda x: np.isfinite(x) & (x >= 0), "finite and at least 0")
    return Moments(mean, jnp.asarray(moments.variance, g.dtype) * _dividers(wires, g) ** 2, slow=moments.slow)


def interleave(pair: jax.Array) -> jax.Array:
    """Return the plus and minus arrays ``[..., 2, n_in, n_out]`` of differential pairs as one array.

    Its columns alternate, plus first, on common word lines: ``[..., n_in, 2 n_out]``. A word line then feeds both cells
    of a weight, and is twice as long. For cells with a variance use ``jax.tree.map(interleave, moments)``.

    Example:
      >>> import jax.numpy as jnp
      >>> interleave(jnp.array([[[1, 2]], [[-1, -2]]])).tolist()
      [[1, -1, 2, -2]]
    """
    shape = jnp.shape(pair)
    if len(shape) < 3 or shape[-3] != 2:
        raise InputError(f"pair has shape {shape}: must be [..., 2, n_in, n_out]")
    return jnp.moveaxis(pair, -3, -1).reshape(*shape[:-3], shape[-2], 2 * shape[-1])


def separate(columns: jax.Array) -> jax.Array:
    """Invert ``interleave``: return ``[..., 2, n_in, n_out]`` from alternating columns ``[..., n_in, 2 n_out]``.

    Example:
      >>> import jax.numpy as jnp
      >>> separate(jnp.array([[1, -1, 2, -2]])).tolist()
      [[[1, 2]], [[-1, -2]]]
    """
    shape = jnp.shape(columns)
    if len(shape) < 2 or shape[-1] % 2:
        raise InputError(f"columns have shape {shape}: must be [..., n_in, 2 n_out]")
    return jnp.moveaxis(jnp.reshape(columns, (*shape[:-1], shape[-1] // 2, 2)), -1, -3)


def _dividers(wires: Wires, g: jax.Array) -> jax.Array:
    """Return p q for every cell: the fractions that its two ladders pass, each with the other lines at zero volts."""
    word, bit = segments(wires, g.shape[-2:], g.dtype)
    g = at_corner(wires, g)
    along_word = jnp.cumprod(line_solver.line(jnp.moveaxis(g, -1, 0), word).divider, 0)
    along_bit = jnp.cumprod(line_solver.line(jnp.moveaxis(g, -2, 0), bit).divider, 0)
    return at_corner(wires, jnp.moveaxis(along_word, 0, -1) * jnp.moveaxis(along_bit, 0, -2))


def segments(wires: Wires, shape: tuple[int, ...], dtype: DTypeLike) -> tuple[jax.Array, jax.Array]:
    """Return the segments of a word line ``[n_out]`` and of a bit line ``[n_in]``, ohm, terminal first."""

    def one(first: Any, other: Any, count: int) -> jax.Array:
        first, other = (jnp.asarray(ohm, dtype) for ohm in (other if first is None else first, other))
        return jnp.concatenate([first[None], jnp.broadcast_to(other, (count - 1,))])

    return (
        one(wires.source_ohm, wires.word_line_ohm, shape[1]),
        one(wires.terminal_ohm, wires.bit_line_ohm, shape[0]),
    )


def at_corner(wires: Wires, x: jax.Array, *, rows: int | None = -2, columns: int | None = -1) -> jax.Array:
    """Flip ``x`` to the solver's order, nearest to driver and readout first; its own inverse.

    ``rows`` and ``columns`` are the axes of ``x`` along the bit and word lines, None if it has none.
    """
    if rows is not None and wires.read_at == "bottom":
        x = jnp.flip(x, rows)
    if columns is not None and wires.driven_from == "right":
        x = jnp.flip(x, columns)
    return x


def unit_conductance(g: jax.Array) -> jax.Array:
    """Return the largest conductance, the unit in which the solver counts so that products stay in float32's range.

    Constant for derivatives, because the result does not depend on the unit.
    """
    peak = lax.stop_gradient(jnp.max(g))
    return jnp.where(peak > 0, peak, 1)


def _network(wires: Wires, g: jax.Array) -> tuple[line_solver.Network, jax.Array]:
    """Return one array ``[n_in, n_out]`` in the solver's order and unit, and that unit (its largest conductance)."""
    unit = unit_conductance(g)
    word, bit = segments(wires, g.shape, g.dtype)
    return line_solver.network((at_corner(wires, g) / unit)[:, :, None], word * unit, bit * unit), unit


def in_rounds(function: Any, v: jax.Array, cells: int) -> Any:
    """Apply ``function`` to ``v`` ``[m, batch]``, a few vectors at a time, to bound the memory.

    On a CPU a loop whose arrays fit into the cache is twice as fast, and eight vectors fill its registers. Results have
    the batch as last axis; of scalar results the largest of all rounds is returned.
    """
    m, batch = v.shape
    chunk = max(8, 2**13 // cells) if jax.default_backend() == "cpu" else max(1, 2**24 // cells)
    if batch <= chunk:
        return function(v)
    rounds = -(-batch // chunk)
    padded = jnp.pad(v, ((0, 0), (0, rounds * chunk - batch)))
    results = lax.map(function, jnp.moveaxis(padded.reshape(m, rounds, chunk), 1, 0))

    def joined(x: jax.Array) -> jax.Array:
        if x.ndim == 1:
            return jnp.max(x)
        x = jnp.moveaxis(x, 0, -2)
        return x.reshape(*x.shape[:-2], rounds * chunk)[..., :batch]

    return jax.tree.map(joined, results)


def _fields(
    net: line_solver.Network, v: jax.Array, limit: float, steps: int, nodes: bool
) -> line_solver.NetworkSolution:
    """Apply ``line_solver.fields`` to ``v`` ``[m, batch]``."""
    # Measured: below this size and number of vectors the slow modes cost as much as they save.
    worthwhile = net.g.size > 2**15 and v.shape[1] >= 64
    slow = line_solver.slow_modes(lax.stop_gradient(net)) if worthwhile else None
    return in_rounds(lambda v: line_solver.fields(net, v, limit, steps, nodes=nodes, slow=slow), v, net.g.size)


def map_arrays(function: Any, *arrays: jax.Array) -> Any:
    """Map ``function`` of two-dimensional arrays over all leading axes, sequentially to bound the memory."""
    lead = arrays[0].shape[:-2]
    if not lead:
        return function(*arrays)
    flat = tuple(a.reshape(-1, *a.shape[-2:]) for a in arrays)
    return jax.tree.map(lambda x: x.reshape(*lead, *x.shape[1:]), lax.map(lambda a: function(*a), flat))


# Compiled here, because an eager lax.while_loop is compiled again at every call.
@functools.partial(jax.jit, static_argnames=("limit", "steps"))
def _solve(wires: Wires, g: jax.Array, v: jax.Array, limit: float, steps: int) -> Solution:
    def one(g: jax.Array, v: jax.Array) -> Solution:
        net, unit = _network(wires, g)
        solution = _fields(net, at_corner(wires, v.T, rows=0, columns=None), limit, steps, nodes=True)
        word, bit = (at_corner(wires, jnp.moveaxis(x, -1, 0)) for x in (solution.word, solution.bit))
        currents = at_corner(wires, solution.currents.T * unit, rows=None)
        return Solution(currents, word, bit, solution.iterations, solution.residual)

    return map_arrays(one, g, v)


@functools.partial(jax.jit, static_argnames=("limit", "steps"))
def _effective(wires: Wires, g: jax.Array, limit: float, steps: int) -> tuple[jax.Array, jax.Array]:
    def one(g: jax.Array) -> tuple[jax.Array, jax.Array]:
        net, unit = _network(wires, g)
        m, n = g.shape
        if m > n:  # drive the outputs and read the inputs: the transposed network has the transposed matrix
            net = line_solver.turned(net)
        solution = _fields(net, jnp.eye(min(m, n), dtype=g.dtype), limit, steps, nodes=False)
        matrix = solution.currents if m > n else solution.currents.T
        return at_corner(wires, unit * matrix), jnp.max(solution.residual)

    return map_arrays(one, g)


def checked(wires: Wires, g: Any, tolerance: float | None, max_iterations: int) -> tuple[jax.Array, float]:
    """Return conductances in the dtype of the computation, and the accepted residual; refuse bad arguments."""
    if not isinstance(wires, Wires):
        raise InputError(f"wires = {wires!r}: must be a Wires description")
    for name in ("word_line_ohm", "bit_line_ohm", "source_ohm", "terminal_ohm"):
        ohm = getattr(wires, name)
        if jnp.ndim(0.0 if ohm is None else ohm):
            raise InputError(f"Wires.{name} has shape {jnp.shape(ohm)}: must be one number (unit: ohm); use jax.vmap")
    check_integer(max_iterations, "max_iterations")
    g = jnp.asarray(g)
    if g.ndim < 2 or 0 in g.shape[-2:]:
        raise InputError(f"g has shape {g.shape}: must be [..., n_in, n_out] with at least one cell (unit: S)")
    dtype = promoted(g.dtype, jnp.float32)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"g has dtype {dtype}: must be real (unit: S)")
    _require(g, "g", "S", lambda x: np.isfinite(x) & (x >= 0), "finite and at least 0")
    if tolerance is None:
        tolerance = line_solver.TOLERANCE[dtype.name]
    if not isinstance(tolerance, (int, float)) or not tolerance > 0:
        raise InputError(f"tolerance = {tolerance!r}: must be a number greater than 0")
    return g.astype(dtype), float(tolerance)


def checked_voltages(g: jax.Array, v: Any) -> jax.Array:
    """Return input voltages in the dtype of ``g``; refuse shapes other than ``[..., batch, n_in]``."""
    shape = np.shape(v)
    if len(shape) != g.ndim or shape[:-2] != g.shape[:-2] or shape[-1] != g.shape[-2]:
        required = ", ".join([*map(str, g.shape[:-2]), "batch", str(g.shape[-2])])
        raise InputError(f"v has shape {shape}: must be [{required}] for g of shape {g.shape} (unit: V)")
    _require(v, "v", "V", np.isfinite, "finite")
    return jnp.asarray(v, g.dtype)


def _require(x: jax.Array, name: str, unit: str, allowed: Any, words: str) -> None:
    if isinstance(x, jax.core.Tracer):  # its values are not known
        return
    values = np.asarray(x, np.float64)
    bad = values[~allowed(values)]
    if bad.size:
        raise InputError(f"{name} = {bad.flat[0]:.6g}: must be {words} (unit: {unit})")


def require_converged(residual: jax.Array, limit: float, steps: int) -> None:
    """Raise an error if a residual is above ``limit``."""
    if isinstance(residual, jax.core.Tracer):  # NaN stands for the error, see the module's docstring
        return
    worst = float(np.max(residual, initial=0.0))
    if not worst <= limit:
        raise InputError(
            f"max_iterations = {steps}: the solver did not converge, its relative residual is {worst:.2g} and must be "
            f"at most {limit:.2g}; allow more steps or a larger tolerance"
        )
