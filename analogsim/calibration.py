"""Converter ranges from data: one digital pass over a few hundred examples, once, before programming.

A range that covers every value wastes codes on outliers; one that is too small clips. The range is the quantile of
the absolute values that the converter sees (99.98 % keeps clipping negligible: T. P. Xiao et al., IEEE CAS Magazine
22, 26 (2022), arXiv 2109.01262).
"""

from typing import Any

import jax
import jax.numpy as jnp

from analogsim.devices.errors import InputError
from analogsim.layer import LayerUse
from analogsim.models import Sample, observe
from analogsim.operators import partial_sums
from analogsim.tiles import normalise


def calibrate(
    model: Any, variables: Any, x: Any, *, quantile: float = 0.9998, margin: float = 1.1, **options: Any
) -> Any:
    """Choose every layer's converter ranges from the data in ``x``.

    Args:
      model, variables: a Linen model with analog layers and its variables, or an NNX model and None.
      x: representative inputs, ``[n, ...]``.
      quantile: share of the absolute values that stays inside the range.
      margin: the ADC's range is this much larger, room for what noise and drift add.
      **options: keyword arguments of the Linen model's call, for example ``train=False``.

    Returns:
      For Linen, the variables with a ``ranges`` collection (which also remembers the input's shape, so that
      ``program`` needs no ``x``). For NNX, nothing: the ranges are set in the model.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("pcm")), jnp.linspace(-2, 2, 400).reshape(100, 4)
      >>> variables = calibrate(layer, layer.init(jax.random.key(0), x), x)
      >>> round(float(variables["ranges"]["analog"]["input"]), 2)
      2.0
    """
    if not 0.5 <= quantile <= 1:
        raise InputError(f"quantile = {quantile}: must be at least 0.5 and at most 1")
    if not margin >= 1:
        raise InputError(f"margin = {margin}: must be at least 1")
    found: dict[str, tuple[Any, Any]] = {}
    for use in observe(model, variables, x, **options):
        limits = _ranges(use, quantile, margin)
        old = found.get(use.path, limits)  # a layer used several times keeps its largest ranges
        found[use.path] = (jnp.maximum(limits[0], old[0]), jnp.maximum(limits[1], old[1]))
    if variables is None:
        _set_in_nnx(model, found)
        return None
    ranges: dict[str, Any] = {"sample": Sample.of(x)}
    for path, (input_range, output_range) in found.items():
        node = ranges
        for name in [] if path.startswith("(") else path.split("/"):
            node = node.setdefault(name, {})
        node["analog"] = {"input": input_range, "output": output_range}
    return {**variables, "ranges": ranges}


def _ranges(use: LayerUse, quantile: float, margin: float) -> tuple[jax.Array, jax.Array]:
    """Input range in the units of x, output range in fully driven cells."""
    x = use.x.astype(jnp.promote_types(use.x.dtype, jnp.float32))
    input_range = jnp.quantile(jnp.abs(x), quantile)
    # A layer that saw only zeros in calibration gets a range of 1 rather than none.
    input_range = jnp.where(input_range > 0, input_range, 1.0)
    tiled, _ = normalise(use.weights.astype(x.dtype), use.hardware)
    partial = partial_sums(use.operator, jnp.clip(x / input_range, -1, 1), tiled, jax.lax.Precision.HIGHEST)
    stacked = jnp.stack(partial)  # [R, ..., C, columns]
    held = stacked.reshape(*stacked.shape[:-2], -1)[..., : use.weights.shape[1]]  # without the tiles' unused columns
    output_range = margin * jnp.quantile(jnp.abs(held), quantile)
    return input_range, jnp.where(output_range > 0, output_range, 1.0)


def _set_in_nnx(model: Any, found: dict[str, tuple[Any, Any]]) -> None:
    from flax import nnx

    from analogsim.nnx import Range, analog_ops

    for path, (_, op) in analog_ops(model).items():
        if path in found:
            op.input_range, op.output_range = (nnx.data(Range(r)) for r in found[path])
