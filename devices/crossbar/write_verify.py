"""Program-and-verify: pulse a cell, read it, compare and correct, until it is within the window or pulses run out.

From a start g_0, with target T, read noise s_r, c the fraction of the remaining error that a pulse corrects, and
Gaussians xi,

    verify    r_k = g_k + s_r xi'_k                                                 accepted if |r_k - T| <= window
    pulse     g_k+1 = clip(g_k + f (step + sigma xi_k), f g_min, f g_max)           step = c (T - r_k)
    noise     sigma^2 = (pulse_noise step)^2 + pulse_noise_floor^2                  cycle to cycle

The scale f of a cell (``faults``) makes its pulses weaker or stronger; the loop reads the result and corrects it, which
an open-loop write cannot, as long as the target is within f g_min to f g_max. A proportional correction represents
the many published ones: F. Alibart et al., Nanotechnology 23, 075201 (2012), doi 10.1088/0957-4484/23/7/075201.

Results in closed form. Exact pulses: ceil(ln(window/|T - g_0|) / ln(1 - c)) pulses. Pulses that aim at the target
(c = 1) and miss it by the floor s: a geometric number of pulses with p = erf(window/(s sqrt 2)), and a Gaussian error
truncated at the window. Read noise cannot be corrected: if pulses are coarse (s much larger than the window and s_r)
the accepted reads are uniform within the window, so the true error has the variance window^2/3 + s_r^2.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim.base.description import Description, field
from analogsim.base.dtypes import promoted
from analogsim.base.errors import InputError
from analogsim.base.literature import Source, cited
from analogsim.base.random import normal, stream
from analogsim.base.types import Numeric
from analogsim.devices.protocol import Action

_WAN = cited("wan2022", recalled=True)
_FITTED = cited(
    "wan2022",
    note="chosen for its mean of 8.52 pulses and 99 % of cells accepted, over targets uniform in 1-40 uS from 1 uS",
    recalled=True,
)


class WriteResult(NamedTuple):
    """Cells after programming, in the shape of the targets."""

    conductance: jax.Array  #: true conductance of each cell, its scale f included, S
    pulses: jax.Array  #: number of pulses, int32; 0 for a cell that was within the window at the start
    accepted: jax.Array  #: bool: whether the last read was within the window


class WriteVerify(Description):
    """Rules and noise of the program-and-verify loop; see the module for the equations.

    The defaults describe filamentary ReRAM of 1-40 uS; set other values for other conductances. The cost of a window,
    measured with the defaults on a million cells (targets uniform in 1-40 uS, start at 1 uS, no limit of pulses):

      window, uS                          4      2      1     0.5   0.25
      mean pulses per cell               4.4    6.1    8.6   13.4   22.9
      standard deviation of errors, uS  1.59   1.08   0.57   0.29   0.14
      the same, read noise of 0.5 uS    1.66   1.18   0.76   0.58   0.52
      cells not done in 30 pulses         0   0.02 %  0.6 %   7 %   25 %

    Verifying reads are taken as independent. Fluctuations slower than the loop (1/f noise) are corrected like a
    programming error and so remain in the conductance; they are not drawn here.

    A window below the read noise costs pulses without gaining precision. Without more ``max_pulses`` it is harmful: at
    0.5 uS the 7 % of cells given up after 30 pulses raise the standard deviation of all errors to 1.13 uS.

    Derivatives: those of a loop that ends by a comparison are useless, so the conductance follows its target with
    derivative 1 if the cell was accepted and 0 if not, and all other derivatives are zero. To see the effect of the
    rules, sweep them, under ``jax.vmap`` without recompilation.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> rule = WriteVerify(window="0.5 uS")
      >>> written = rule.write(jax.random.key(0), jnp.full((1000,), 20e-6), g_min=1e-6, g_max=40e-6)
      >>> bool(jnp.all(jnp.abs(written.conductance - 20e-6)[written.accepted] <= 0.5e-6))
      True
    """

    window: Any = field(default=1e-6, unit="S", gt=0, le=1, doc="largest accepted |read - target|", source=_WAN)
    max_pulses: Any = field(
        default=30, ge=1, le=100_000, integer=True, doc="pulses after which a cell is given up", source=_FITTED
    )
    correction: Any = field(
        default=0.3, gt=0, lt=2, doc="c, fraction of the remaining error that a pulse corrects", source=_FITTED
    )
    pulse_noise: Any = field(
        default=0.3, ge=0, le=10, doc="cycle-to-cycle noise of a pulse's step, as a fraction of it", source=_FITTED
    )
    pulse_noise_floor: Any = field(
        default=2.8e-6, unit="S", ge=0, le=1, doc="noise of even the smallest pulse", source=_FITTED
    )
    read_noise: Any = field(
        default=None,
        unit="S",
        ge=0,
        le=1,
        optional=True,
        doc="s_r, noise of the verifying read, independent from read to read; None: exact",
    )

    def model_sources(self) -> tuple[Source, ...]:
        """Return the publication on the loop."""
        return (cited("alibart2012"),)

    def write(
        self,
        key: jax.Array,
        target: jax.Array,
        *,
        g_min: Numeric,
        g_max: Numeric,
        start: Any = None,
        factor: Any = None,
    ) -> WriteResult:
        """Program every cell to its target.

        An iteration of the loop draws one Gaussian per cell, and a second one if there is read noise; the loop ends
        when all cells are accepted. Random numbers belong to a cell's position in ``target``: a chip that is programmed
        in parts is the same only if it is divided into the same parts with the same keys.

        Args:
          key: random key for the noise of pulses and reads.
          target: conductances to reach (S, any shape).
          g_min, g_max: conductances at which a cell saturates (S): one number, or one per cell. Both are equal for a
            stuck cell; it takes all the pulses, as on a chip, unless it is stuck within the window.
          start: conductances before the first pulse (S), as they would be read; None for all at the lower end.
          factor: each cell's scale f, positive; None for 1.

        Returns:
          The cells. ``conductance`` already contains ``factor``: do not scale it again. It is computed in float32 or
          wider and returned in the dtype of ``target``.

        Raises:
          InputError: if ``key`` is None, for targets that are not floats, shapes that do not broadcast, g_min > g_max,
            or factors that are not positive.
        """
        if key is None:
            raise InputError("key = None: programming draws random numbers, pass a key (jax.random.key(0))")
        target = jnp.asarray(target)
        if not jnp.issubdtype(target.dtype, jnp.floating):
            raise InputError(f"target of {target.dtype}: must be real conductances of a floating type (unit: S)")
        low, high = (_like(target, g, name) for g, name in ((g_min, "g_min"), (g_max, "g_max")))
        _check_values(g_min, g_max, factor)
        scale = None if factor is None else _like(target, factor, "factor")
        if scale is not None:
            low, high = scale * low, scale * high
        begin = low if start is None else _like(target, start, "start")
        # JAX cannot differentiate a while_loop backwards; ``_follow`` supplies the derivative instead.
        fixed = lax.stop_gradient((self, low, high, begin, scale, target.astype(low.dtype)))
        written = _loop(key, *fixed)
        return written._replace(conductance=_follow(target, written.conductance.astype(target.dtype), written.accepted))

    def cost(self, written: WriteResult) -> tuple[Action, ...]:
        """Return the pulses and verifying reads of all cells: one read before the first pulse, one after each pulse."""
        pulses = jnp.sum(written.pulses.astype(jnp.float32))  # float32: whole chips overflow 32-bit integers
        return (Action("write pulse", pulses, "pulse"), Action("verify read", pulses + written.pulses.size, "read"))


class _Iteration(NamedTuple):
    number: jax.Array
    conductance: jax.Array
    last_read: jax.Array
    pulses: jax.Array
    accepted: jax.Array


@jax.jit  # one compilation per shape, also for eager callers: a bare while_loop compiles at every call
def _loop(
    key: jax.Array, rule: WriteVerify, low: jax.Array, high: jax.Array, start: jax.Array, scale: Any, target: jax.Array
) -> WriteResult:
    pulse_key, read_key = stream(key, "pulse noise"), stream(key, "verify read")

    def gaussians(stream_key: jax.Array, number: jax.Array) -> jax.Array:
        # Folded by iteration, so that the numbers of a cell do not depend on how long the other cells take.
        return normal(jax.random.fold_in(stream_key, number), target.shape, target.dtype)

    def verify(number: jax.Array, conductance: jax.Array, pulses: jax.Array, accepted: jax.Array) -> _Iteration:
        read = conductance
        if rule.read_noise is not None:
            # Cast, because a while_loop must keep the dtype of its state, which the rules may be wider than.
            read = (conductance + rule.read_noise * gaussians(read_key, number)).astype(target.dtype)
        # Once accepted, a cell is not verified again: the noise of a later read must not reopen it.
        return _Iteration(number, conductance, read, pulses, accepted | (jnp.abs(read - target) <= rule.window))

    def correct(now: _Iteration) -> _Iteration:
        step = rule.correction * (target - now.last_read)
        sigma = jnp.sqrt((rule.pulse_noise * step) ** 2 + rule.pulse_noise_floor**2)
        change = step + sigma * gaussians(pulse_key, now.number)
        moved = jnp.clip(now.conductance + (change if scale is None else scale * change), low, high)
        conductance = jnp.where(now.accepted, now.conductance, moved).astype(target.dtype)
        return verify(now.number + 1, conductance, now.pulses + (~now.accepted).astype(jnp.int32), now.accepted)

    def unfinished(now: _Iteration) -> jax.Array:
        return (now.number < rule.max_pulses) & ~jnp.all(now.accepted)

    first = verify(jnp.int32(0), start, jnp.zeros(target.shape, jnp.int32), jnp.zeros(target.shape, bool))
    last = lax.while_loop(unfinished, correct, first)
    return WriteResult(last.conductance, last.pulses, last.accepted)


@jax.custom_jvp
def _follow(target: jax.Array, conductance: jax.Array, accepted: jax.Array) -> jax.Array:
    """Return ``conductance``, with the derivative documented in ``WriteVerify``."""
    del target, accepted
    return conductance


@_follow.defjvp
def _follow_jvp(primals, tangents):
    _, conductance, accepted = primals
    return conductance, jnp.where(accepted, tangents[0], jnp.zeros_like(tangents[0]))


def _like(target: jax.Array, value: Any, name: str) -> jax.Array:
    """Return ``value`` in the shape of the targets, in float32 or wider."""
    array = jnp.asarray(value, promoted(target.dtype, jnp.float32))
    try:
        return jnp.broadcast_to(array, target.shape)
    except ValueError:
        raise InputError(
            f"{name} has shape {array.shape}: must broadcast to the targets' shape {target.shape}"
        ) from None


def _check_values(g_min: Numeric, g_max: Numeric, factor: Any) -> None:
    """Refuse an empty window and scales that are not positive, unless the values are traced."""
    if not any(isinstance(g, jax.core.Tracer) for g in (g_min, g_max)) and np.any(np.asarray(g_min) > g_max):
        low, high = np.max(g_min), np.min(g_max)
        raise InputError(f"g_min = {low:g}: must be at most g_max = {high:g} in every cell (unit: S)")
    if factor is not None and not isinstance(factor, jax.core.Tracer) and np.any(np.asarray(factor) <= 0):
        raise InputError(f"factor = {np.min(factor):g}: must be greater than 0 in every cell")
