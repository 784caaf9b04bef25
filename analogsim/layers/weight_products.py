"""Find the parameters that a function multiplies data with, from its jaxpr.

A layer computes y = x W with x from data and W from parameters. Both are traced through the program: every variable
has an origin, i.e. the parameter leaves that it derives from and whether it depends on data, with

    origin(f(a, b, ...)) = (union of the operands' leaves, whether any operand depends on data).

An operand that derives from parameters and not from data is a weight. A matrix product or convolution of a weight with
an operand that depends on data is a weight product. Masked, cast, normalised, noisy and factored weights are still
weights. An operand that depends on data is an activation; products of activations (attention) are not weight products.
Addition, scaling, lookup and slicing are not products.

Constants, arrays that the function closes over, and random keys with everything drawn from them are not data. A noisy
weight is still a weight, and a random projection of a weight is not a product with data. Neither is the product of a
weight with a latent that the function draws itself: pass such a latent as an argument.

Not detected: products written as multiplication and sum, ``(x[..., None] * w).sum(-2)``, or computed outside of JAX
(host callbacks); weights that data selects or scales (``w[expert]``, ``cond`` on data, a hypernetwork), which look like
embedded tokens in the program; values that pass through a mutable reference. Detected, because they are products of
data with parameters: learned queries on keys made of data, linear systems with a parameter matrix, and layers on analog
hardware.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import Jaxpr, JaxprEqn, Literal, jaxprs_in_params

from analogsim.base.types import PyTree


class WeightProduct(NamedTuple):
    """A parameter that data is multiplied with.

    Attributes:
      path: path of the leaf, ``"encoder/Dense_0/kernel"``.
      shape: shape of the leaf.
      primitive: ``"dot_general"``, ``"ragged_dot_general"`` (groups of rows) or ``"conv_general_dilated"``.
    """

    path: str
    shape: tuple[int, ...]
    primitive: str


def weight_products(function: Callable[..., Any], parameters: PyTree, *args: Any) -> list[WeightProduct]:
    """List the products of data with parameters in ``function(parameters, *args)``, by abstract evaluation.

    Args:
      function: function of parameters and data. Pass other state (``batch_stats``) in ``parameters``, or close over
        it; merge an NNX model inside.
      parameters: a pytree of arrays or ``jax.ShapeDtypeStruct``: a Linen model's ``params``, an ``nnx.State``.
      args: the data, likewise; may include random keys.

    Returns:
      One entry per parameter leaf and kind of product, in the order of first use. Only matrices are listed, i.e. leaves
      with two or more axes longer than 1: of ``g * v / norm(v)`` it is ``v``. Layers stacked by ``nn.scan`` are one
      leaf.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> parameters = {"w": jnp.ones((4, 3)), "position": jnp.ones((5, 4))}
      >>> weight_products(lambda p, x: (x + p["position"]) @ p["w"], parameters, jnp.ones((5, 4)))
      [WeightProduct(path='w', shape=(4, 3), primitive='dot_general')]
    """
    leaves = jax.tree_util.tree_flatten_with_path(parameters)[0]
    # The lambda is new on every call: JAX caches traces by function, and a cached one may stem from another mode.
    jaxpr = jax.make_jaxpr(lambda *inputs: function(*inputs))(parameters, *args).jaxpr
    weights = [_Origin(leaves=frozenset([index])) for index in range(len(leaves))]
    found: _Found = {}
    _walk(jaxpr, weights + [_Origin(data=True)] * (len(jaxpr.invars) - len(leaves)), found)
    products = []
    for index, primitive in found:
        shape = jaxpr.invars[index].aval.shape
        if sum(n > 1 for n in shape) >= 2:
            products.append(WeightProduct(leaf_path(leaves[index][0]), shape, primitive))
    return products


def leaf_path(path: tuple[Any, ...]) -> str:
    """Return a leaf's key path as names joined by ``/``, without the ``.value`` of a box or ``nnx.Variable``."""
    if path and path[-1] == jax.tree_util.GetAttrKey("value"):
        path = path[:-1]
    return jax.tree_util.keystr(path, simple=True, separator="/") or "(the parameter itself)"


class _Origin(NamedTuple):
    """The parameter leaves that a variable derives from, and whether it depends on data."""

    leaves: frozenset[int] = frozenset()
    data: bool = False

    @property
    def is_weight(self) -> bool:
        return bool(self.leaves) and not self.data


_Found = dict[tuple[int, str], None]  # leaves and primitives in the order of first use
_CONSTANT = _Origin()
_PRODUCTS = ("dot_general", "ragged_dot_general", "conv_general_dilated")
_SEPARATE = ("optimization_barrier", "device_put")  # pass several operands through independently


def _join(origins: Iterable[_Origin]) -> _Origin:
    origins = list(origins)
    return _Origin(frozenset().union(*(o.leaves for o in origins)), any(o.data for o in origins))


def _join_each(*rows: Sequence[_Origin]) -> list[_Origin]:
    return [_join(column) for column in zip(*rows, strict=True)]


def _walk(jaxpr: Jaxpr, inputs: Sequence[_Origin], found: _Found) -> list[_Origin]:
    """Return the origins of a program's outputs, and add its weight products to ``found``."""
    origins: dict[Any, _Origin] = {}

    def bind(variables, values):
        for variable, origin in zip(variables, values, strict=True):
            is_key = jax.dtypes.issubdtype(getattr(variable.aval, "dtype", None), jax.dtypes.prng_key)
            origins[variable] = _CONSTANT if is_key else origin

    def read(atoms):
        # Variables without an entry are arrays that the function closes over, which are not data.
        return [_CONSTANT if isinstance(a, Literal) else origins.get(a, _CONSTANT) for a in atoms]

    bind(jaxpr.invars, inputs)
    for eqn in jaxpr.eqns:
        bind(eqn.outvars, _follow(eqn, read(eqn.invars), found))
    return read(jaxpr.outvars)


def _follow(eqn: JaxprEqn, inputs: list[_Origin], found: _Found) -> list[_Origin]:
    """Return the origins of one equation's results, and add its weight products to ``found``."""
    name = eqn.primitive.name
    if name in _LOOPS_AND_BRANCHES:
        return _LOOPS_AND_BRANCHES[name](eqn, inputs, found)
    if name in _SEPARATE:
        return inputs
    if name in _PRODUCTS and _sums(eqn):
        # Only the factors: the third operand of ragged_dot_general is the sizes of the groups.
        _note(name, inputs[:2], found)
    inner = list(jaxprs_in_params(eqn.params))
    if inner and all(len(j.invars) == len(inputs) and len(j.outvars) == len(eqn.outvars) for j in inner):
        return _join_each(*[_walk(j, inputs, found) for j in inner])  # jit, remat, custom_vjp_call, shard_map, ...
    for primitive in dict.fromkeys(p for j in inner for p in _products_in(j)):
        _note(primitive, inputs, found)  # a kernel or linear solve: pairs inside are unknown, so count all operands
    return [_join(inputs)] * len(eqn.outvars)


def _sums(eqn: JaxprEqn) -> bool:
    """Return False for a dot_general without contraction, to which einsum lowers ``"bn,n->bn"``."""
    return eqn.primitive.name != "dot_general" or len(eqn.params["dimension_numbers"][0][0]) > 0


def _note(primitive: str, operands: Sequence[_Origin], found: _Found) -> None:
    if any(o.data for o in operands):
        for leaf in sorted(_join(o for o in operands if o.is_weight).leaves):
            found.setdefault((leaf, primitive))


def _products_in(jaxpr: Jaxpr) -> list[str]:
    names = []
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in _PRODUCTS and _sums(eqn):
            names.append(eqn.primitive.name)
        for inner in jaxprs_in_params(eqn.params):
            names += _products_in(inner)
    return names


def _fixed_point(step: Callable[[list[_Origin]], list[_Origin]], carry: list[_Origin]) -> list[_Origin]:
    """Return the origins of a loop's carry after any number of steps. Origins only grow, so the iteration ends."""
    while (grown := _join_each(carry, step(carry))) != carry:
        carry = grown
    return carry


def _scan(eqn: JaxprEqn, inputs: list[_Origin], found: _Found) -> list[_Origin]:
    body, a = eqn.params["jaxpr"].jaxpr, eqn.params["num_consts"]
    b = a + eqn.params["num_carry"]
    constants, carry, slices = inputs[:a], inputs[a:b], inputs[b:]
    # Count products only with the converged carry: a learned initial state is data from the second step on.
    carry = _fixed_point(lambda c: _walk(body, constants + c + slices, {})[: b - a], carry)
    return _walk(body, constants + carry + slices, found)


def _while(eqn: JaxprEqn, inputs: list[_Origin], found: _Found) -> list[_Origin]:
    condition, body = eqn.params["cond_jaxpr"].jaxpr, eqn.params["body_jaxpr"].jaxpr
    a = eqn.params["cond_nconsts"]
    b = a + eqn.params["body_nconsts"]
    carry = _fixed_point(lambda c: _walk(body, inputs[a:b] + c, {}), inputs[b:])
    continues = _walk(condition, inputs[:a] + carry, found)
    _walk(body, inputs[a:b] + carry, found)
    return [_join([*continues, c]) for c in carry]  # results depend on the number of steps, too


def _cond(eqn: JaxprEqn, inputs: list[_Origin], found: _Found) -> list[_Origin]:
    index, operands = inputs[0], inputs[1:]
    results = _join_each(*[_walk(branch.jaxpr, operands, found) for branch in eqn.params["branches"]])
    return [_join([index, result]) for result in results]


_LOOPS_AND_BRANCHES = {"scan": _scan, "while": _while, "cond": _cond}
