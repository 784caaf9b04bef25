"""Learned digital output scales, and remapping of the weights to columns of one size.

After the converters, digital logic multiplies every output by the scale of its column anyway. A learned scale s is
merged into it, y_j = s_j sum_i x_i W_ij, so that the optimiser changes a whole column at once, without changing cells.
The scales belong to the network and are stored in the collection ``ranges``, as the converters' ranges are:

    variables = with_output_scales(model, variables, x)                 # ones: nothing changes yet
    tree = {"params": variables["params"], "ranges": variables["ranges"]}
    tx = optax.chain(optax.adam(1e-3), remap_weights())                         # trained together, columns kept at 1
    variables = fold_output_scales(variables)                           # back to a plain network: W_ij s_j

``remap_weights`` is the channel-wise symmetric mapping of Rasch et al. (Nat. Commun. 14, 5282 (2023), doi
10.1038/s41467-023-40770-4): after every step the largest weight of each column is one, and s has the rest, so that
noise relative to the window and clipping at a fixed value mean the same for every column.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from analogsim.base.call_inputs import inputs_of
from analogsim.base.checks import check_number
from analogsim.base.errors import InputError
from analogsim.models.bound import Sample, bind, front_end_of

_SCALED = "scale"


def with_output_scales(model: Any, variables: Any = None, x: Any = None, **options: Any) -> Any:
    """Give every analog layer a learned scale of its outputs, one for now.

    Args:
      model, variables: a Linen model with analog layers and its variables, or an NNX model and None.
      x: one call's inputs (``analogsim.Inputs``), of which a Linen model's shapes follow; not needed after
        ``calibrate``.
      **options: keyword arguments of the Linen model's call.

    Returns:
      For Linen, the variables with ``ranges/<layer>/analog/scale`` of shape ``[n_out]``, or ``[S, n_out]`` for a layer
      of S matrices (grouped convolutions, batch axes). For NNX, nothing: the scales are set in the model.

    Raises:
      InputError: for layers in stacks (``nn.scan``, ``nnx.vmap``), whose scales are not supported.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("pcm")), jnp.ones((2, 4))
      >>> variables = with_output_scales(layer, layer.init(jax.random.key(0), x), x)
      >>> variables["ranges"]["analog"]["scale"].tolist()
      [1.0, 1.0, 1.0]
    """
    if x is not None:
        x, options = inputs_of(x, options)
    front_end = front_end_of(model)
    bound = bind(model, variables, x if front_end.needs_call else None, options)
    scales = {}
    for layer in bound.inventory().layers:
        *matrices, _, n_out = layer.matrices
        scales[layer.path] = {_SCALED: jnp.ones((*matrices, n_out))}
    for path, numbers in bound.places().items():
        if numbers.ndim:
            raise _stacked(path)
    return front_end.set_ranges(model, variables, scales, None if x is None else Sample.of(x))


def _stacked(path: str) -> InputError:
    return InputError(f"layer {path}: is one of a stack (nn.scan, nnx.vmap), whose outputs have no learned scales")


def remap_weights(limit: float = 1.0) -> optax.GradientTransformationExtraArgs:
    """Keep the largest weight of every column at ``limit``; the learned scale of the output takes what that changes.

    Last in an ``optax.chain``, on a tree ``{"params": ..., "ranges": ...}`` in which layers have scales
    (``with_output_scales``). The product of kernel and scale, and so the network, is what the step made of it.

    Args:
      limit: the largest absolute weight of every column.

    Raises:
      InputError: for a tree without scales, or a scale whose layer's kernel is not found or has other outputs.

    Example:
      >>> tree = {"params": {"d": {"kernel": jnp.array([[2.0], [-4.0]])}},
      ...         "ranges": {"d": {"analog": {"scale": jnp.array([1.0])}}}}
      >>> tx = optax.chain(optax.sgd(0.0), remap_weights())
      >>> updates, _ = tx.update(jax.tree.map(jnp.zeros_like, tree), tx.init(tree), tree)
      >>> new = optax.apply_updates(tree, updates)
      >>> new["params"]["d"]["kernel"].tolist(), new["ranges"]["d"]["analog"]["scale"].tolist()
      ([[0.5], [-1.0]], [4.0])
    """
    check_number(limit, "limit", gt=0)

    def update(updates: Any, state: Any, params: Any = None, **_: Any) -> tuple[Any, Any]:
        if params is None:
            raise InputError("remap_weights needs the parameters: tx.update(gradients, state, params)")
        kernels = scaled_kernels(params)
        new = jax.tree.map(lambda p, u: p + u, params, updates)
        for kernel_path, scale_path in kernels:
            kernel, scale = _at(new, kernel_path), _at(new, scale_path)
            columns = _outputs(kernel, scale)
            largest = jnp.max(jnp.abs(kernel), axis=tuple(range(kernel.ndim - len(columns))))
            factor = jnp.where(largest > 0, largest, limit) / limit
            updates = _with(updates, kernel_path, kernel / factor - _at(params, kernel_path))
            updates = _with(updates, scale_path, scale * _as_scale(factor, scale) - _at(params, scale_path))
        return updates, state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def fold_output_scales(variables: Any) -> Any:
    """A Linen model's variables without scales, their kernels multiplied by them: the same network.

    Example:
      >>> variables = {"params": {"d": {"kernel": jnp.ones((2, 1))}},
      ...              "ranges": {"d": {"analog": {"scale": jnp.array([3.0])}}}}
      >>> fold_output_scales(variables)["params"]["d"]["kernel"].tolist()
      [[3.0], [3.0]]
    """
    for kernel_path, scale_path in scaled_kernels(variables):
        kernel, scale = _at(variables, kernel_path), _at(variables, scale_path)
        shape = _outputs(kernel, scale)
        folded = kernel * scale.reshape(-1)[: math.prod(shape)].reshape(shape)
        variables = _without(_with(variables, kernel_path, folded), scale_path)
    return variables


def scaled_kernels(tree: Any) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Where the kernels with a learned scale are, and where their scales, in ``{"params": ..., "ranges": ...}``."""
    if "params" not in tree or "ranges" not in tree:
        raise InputError("the tree must hold the collections 'params' and 'ranges', {'params': ..., 'ranges': ...}")
    found = []
    for path, scale in jax.tree_util.tree_leaves_with_path(tree["ranges"]):
        names = tuple(str(getattr(p, "key", p)) for p in path)
        if names[-2:] != ("analog", _SCALED):
            continue
        kernel_path = ("params", *names[:-2], "kernel")
        kernel = _at(tree, kernel_path)
        layer = "/".join(names[:-2]) or "(the model itself)"
        if kernel is None or not _outputs(kernel, scale):
            have = "no kernel" if kernel is None else f"a kernel of shape {jnp.shape(kernel)}"
            raise InputError(
                f"layer {layer}: its scale of shape {jnp.shape(scale)} is one number for each of its outputs, and it "
                f"has {have}"
            )
        found.append((kernel_path, ("ranges", *names)))
    if not found:
        raise InputError("no layer has a learned scale; with_output_scales(model, variables, x) gives them one each")
    return found


def _outputs(kernel: Any, scale: Any) -> tuple[int, ...]:
    """The last axes of a kernel that are a layer's outputs, as many as the scale has; none if they do not fit."""
    for axes in range(1, jnp.ndim(kernel)):
        shape = jnp.shape(kernel)[-axes:]
        if math.prod(shape) == jnp.size(scale):
            return shape
    # The last of several matrices of grouped convolutions may have places that no group takes.
    return jnp.shape(kernel)[-1:] if jnp.ndim(scale) == 2 and jnp.shape(kernel)[-1] < jnp.size(scale) else ()


def _as_scale(factor: jax.Array, scale: jax.Array) -> jax.Array:
    """Factors of the outputs in the shape of a scale; 1 in places that no output takes."""
    flat = factor.reshape(-1)
    return jnp.concatenate([flat, jnp.ones(scale.size - flat.size, flat.dtype)]).reshape(scale.shape)


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not hasattr(tree, "keys") or name not in tree:
            return None
        tree = tree[name]
    return tree


def _with(tree: Any, path: tuple[str, ...], value: Any) -> Any:
    return value if not path else {**tree, path[0]: _with(tree[path[0]], path[1:], value)}


def _without(tree: Any, path: tuple[str, ...]) -> Any:
    if len(path) == 1:
        return {name: inner for name, inner in tree.items() if name != path[0]}
    return {**tree, path[0]: _without(tree[path[0]], path[1:])}
