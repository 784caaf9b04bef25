"""Closed-loop programming: pulse a cell, read it, compare, correct, until it is close enough or patience ends.

From a start g_0, with target T, read noise s_r, share of the remaining error that a pulse corrects c and Gaussians xi,

    verify    r_k = g_k + s_r xi'_k                                                 accepted if |r_k - T| <= window
    pulse     g_k+1 = clip(g_k + f (step + sigma xi_k), f g_min, f g_max)           step = c (T - r_k)
    noise     sigma^2 = (pulse_noise step)^2 + pulse_noise_floor^2                  cycle to cycle

The cell's own scale f (``faults``) makes its pulses weaker or stronger; the loop sees the result and corrects it, which
an open-loop write cannot, as long as the target lies within reach, f g_min to f g_max. A proportional correction stands
for the many published ones: F. Alibart et al., Nanotechnology 23, 075201 (2012), doi 10.1088/0957-4484/23/7/075201.

What comes out, in closed form. Exact pulses: ceil(ln(window/|T - g_0|) / ln(1 - c)) of them. Pulses that aim at the
target (c = 1) and miss by the floor s: a number of pulses that is geometric with p = erf(window/(s sqrt 2)), and an
error that is the Gaussian cut at the window. Read noise cannot be corrected: where pulses are coarse (s much above the
window and s_r) what is read is uniform within the window, so the true error has the variance window^2/3 + s_r^2.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim.base.description import Description, field
from analogsim.base.errors import InputError
from analogsim.base.literature import Source, cited
from analogsim.base.random import normal, stream
from analogsim.devices.protocol import Action

_WAN = cited("wan2022", recalled=True)
_FITTED = cited(
    "wan2022",
    note="chosen for its mean of 8.52 pulses and 99 % of cells accepted, over targets uniform in 1-40 uS from 1 uS",
    recalled=True,
)


class WriteResult(NamedTuple):
    """Cells after programming, in the shape of the targets."""

    conductance: jax.Array  #: what each cell truly conducts, its scale f included, S
    pulses: jax.Array  #: how many it took, int32; 0 for a cell that was close enough at the start
    accepted: jax.Array  #: bool: whether its last read lay within the window


class WriteVerify(Description):
    """Rules of the loop and the noise it fights; see the module for the equations.

    The defaults describe filamentary ReRAM of 1-40 uS; a technology with other conductances needs its own. What a
    window costs, measured with them on a million cells (targets uniform in 1-40 uS, start at 1 uS, no limit of pulses):

      window, uS                          4      2      1     0.5   0.25
      pulses a cell, mean                4.4    6.1    8.6   13.4   22.9
      spread of the error, uS           1.59   1.08   0.57   0.29   0.14
      the same, read noise of 0.5 uS    1.66   1.18   0.76   0.58   0.52
      cells not done in 30 pulses         0   0.02 %  0.6 %   7 %   25 %

    Verifying reads are taken as independent. What fluctuates more slowly than a loop takes (1/f noise) is corrected as
    if it were an error of writing, and so stays in the conductance; it is not drawn here.

    Below the read noise a narrower window buys pulses and no precision. Without more ``max_pulses`` it does harm: at
    0.5 uS the 7 % of cells given up after 30 pulses raise the spread of all errors to 1.13 uS.

    Derivatives: a loop that ends by a comparison has none of use, so the conductance follows its target with slope 1
    where it was accepted and 0 where it was not, and the slope with respect to everything else is zero. For the effect
    of the rules, sweep them, under ``jax.vmap`` without a recompilation.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> rule = WriteVerify(window="0.5 uS")
      >>> written = rule.write(jax.random.key(0), jnp.full((1000,), 20e-6), g_min=1e-6, g_max=40e-6)
      >>> bool(jnp.all(jnp.abs(written.conductance - 20e-6)[written.accepted] <= 0.5e-6))
      True
    """

    window: Any = field(
        default=1e-6, unit="S", gt=0, le=1, doc="a read this close to the target is accepted", source=_WAN
    )
    max_pulses: Any = field(
        default=30, ge=1, le=100_000, integer=True, doc="a cell that needs more is given up", source=_FITTED
    )
    correction: Any = field(
        default=0.3, gt=0, lt=2, doc="c, share of the remaining error that a pulse corrects", source=_FITTED
    )
    pulse_noise: Any = field(
        default=0.3, ge=0, le=10, doc="cycle-to-cycle spread of a pulse's step, as a share of it", source=_FITTED
    )
    pulse_noise_floor: Any = field(
        default=2.8e-6, unit="S", ge=0, le=1, doc="spread of what even the smallest pulse does", source=_FITTED
    )
    read_noise: Any = field(
        default=None,
        unit="S",
        ge=0,
        le=1,
        optional=True,
        doc="s_r, spread of the verifying read, independent from read to read; None: exact",
    )

    def model_sources(self) -> tuple[Source, ...]:
        """Where the loop comes from."""
        return (cited("alibart2012"),)

    def write(
        self, key: jax.Array, target: jax.Array, *, g_min: Any, g_max: Any, start: Any = None, factor: Any = None
    ) -> WriteResult:
        """Program every cell to its target.

        A turn of the loop draws one Gaussian a cell, a second one if there is read noise; it ends when all cells are
        accepted. The numbers belong to a cell's place in the array that this call is given: a chip that is written in
        parts comes out the same only if it is cut into the same parts, each with its own key.

        Args:
          key: what the pulses' and reads' noise is drawn from.
          target: conductances to reach (S, any shape).
          g_min, g_max: a cell saturates at these (S): one number, or one a cell. A stuck cell is one whose two are
            equal; it takes all the pulses, as on a chip, unless it is stuck within the window.
          start: conductances before the first pulse (S), as they would be read; None for all at the lower end.
          factor: each cell's scale f, positive; None for 1.

        Returns:
          The cells. ``conductance`` already contains ``factor``: do not scale it again. It is computed in float32 or
          wider and returned in the dtype of ``target``.
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
        fixed = lax.stop_gradient((self, low, high, begin, scale, target.astype(low.dtype)))
        written = _loop(key, *fixed)
        return written._replace(conductance=_follow(target, written.conductance.astype(target.dtype), written.accepted))

    def cost(self, written: WriteResult) -> tuple[Action, ...]:
        """Pulses and verifying reads of all cells, to be priced elsewhere: one read before the first pulse, one after
        every pulse."""
        pulses = jnp.sum(written.pulses.astype(jnp.float32))  # float32: whole chips overflow 32-bit integers
        return (Action("write pulse", pulses, "pulse"), Action("verify read", pulses + written.pulses.size, "read"))


class _Turn(NamedTuple):
    number: jax.Array
    conductance: jax.Array
    seen: jax.Array  # what the last read said
    pulses: jax.Array
    accepted: jax.Array


@jax.jit  # one compilation a shape, also for callers outside of jit: a bare while_loop compiles at every call
def _loop(
    key: jax.Array, rule: WriteVerify, low: jax.Array, high: jax.Array, start: jax.Array, scale: Any, target: jax.Array
) -> WriteResult:
    pulse_key, read_key = stream(key, "pulse noise"), stream(key, "verify read")

    def gaussians(stream_key: jax.Array, number: jax.Array) -> jax.Array:
        return normal(jax.random.fold_in(stream_key, number), target.shape, target.dtype)

    def verify(number: jax.Array, conductance: jax.Array, pulses: jax.Array, accepted: jax.Array) -> _Turn:
        seen = conductance
        if rule.read_noise is not None:
            seen = (conductance + rule.read_noise * gaussians(read_key, number)).astype(target.dtype)
        return _Turn(number, conductance, seen, pulses, accepted | (jnp.abs(seen - target) <= rule.window))

    def correct(turn: _Turn) -> _Turn:
        step = rule.correction * (target - turn.seen)
        sigma = jnp.sqrt((rule.pulse_noise * step) ** 2 + rule.pulse_noise_floor**2)
        change = step + sigma * gaussians(pulse_key, turn.number)
        moved = jnp.clip(turn.conductance + (change if scale is None else scale * change), low, high)
        conductance = jnp.where(turn.accepted, turn.conductance, moved).astype(target.dtype)
        return verify(turn.number + 1, conductance, turn.pulses + ~turn.accepted, turn.accepted)

    def unfinished(turn: _Turn) -> jax.Array:
        return (turn.number < rule.max_pulses) & ~jnp.all(turn.accepted)

    first = verify(jnp.int32(0), start, jnp.zeros(target.shape, jnp.int32), jnp.zeros(target.shape, bool))
    last = lax.while_loop(unfinished, correct, first)
    return WriteResult(last.conductance, last.pulses, last.accepted)


@jax.custom_jvp
def _follow(target: jax.Array, conductance: jax.Array, accepted: jax.Array) -> jax.Array:
    """``conductance``, with the derivative that the class promises."""
    del target, accepted
    return conductance


@_follow.defjvp
def _follow_jvp(primals, tangents):
    _, conductance, accepted = primals
    return conductance, jnp.where(accepted, tangents[0], jnp.zeros_like(tangents[0]))


def _like(target: jax.Array, value: Any, name: str) -> jax.Array:
    """``value`` in the shape of the targets, in float32 or wider."""
    array = jnp.asarray(value, jnp.promote_types(target.dtype, jnp.float32))
    try:
        return jnp.broadcast_to(array, target.shape)
    except ValueError:
        raise InputError(f"{name} of shape {array.shape}: must fit the targets' shape {target.shape}") from None


def _check_values(g_min: Any, g_max: Any, factor: Any) -> None:
    """Refuse what cannot be a window or a scale, as far as values are known."""
    if not any(isinstance(g, jax.core.Tracer) for g in (g_min, g_max)) and np.any(np.asarray(g_min) > g_max):
        low, high = np.max(g_min), np.min(g_max)
        raise InputError(f"g_min = {low:g}: must be at most g_max = {high:g} in every cell (unit: S)")
    if factor is not None and not isinstance(factor, jax.core.Tracer) and np.any(np.asarray(factor) <= 0):
        raise InputError(f"factor = {np.min(factor):g}: must be greater than 0 in every cell")
