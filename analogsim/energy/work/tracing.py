"""Count the operations of any JAX function by a walk over its jaxpr, inner programs included.

    work = analogsim.energy.workload(model.apply, variables, x)         # weights: the first argument
    work.macs, work.flop, work.weights, work.intensity
    print(work)

The body of a ``scan`` counts once per iteration, a ``cond`` as its most expensive branch; calls, ``remat`` and custom
derivatives are entered. The number of iterations of a ``while`` loop is not in the program and must be given. XLA's
cost analysis is not used: it counts after optimisation, counts loops once, and returns nothing on some devices.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.extend
import numpy as np

from analogsim.base.checks import check_integer
from analogsim.base.description import CHECKS
from analogsim.base.errors import InputError
from analogsim.energy.work.operations import ConvolutionShape, MatrixProductShape, Operation, Operations
from analogsim.energy.work.primitives import BY_OPERAND, BY_RESULT, CALLS, COST, MOVES

#: Analog layers mark what they compute with this scope (``analogsim.layers.layer.LAYER_SCOPE``).
_LAYER = re.compile(r"analog<(.*?)>")


class _Origin(NamedTuple):
    """The origin of a value.

    Attributes:
      from_examples: True if it depends on the examples.
      weights: else, the weights it comes from (indices of leaves).
      outside: arguments (indices of leaves) that it is computed from without a product in between.
      step: number of dependent products before it.
    """

    from_examples: bool
    weights: frozenset[int]
    outside: frozenset[int] = frozenset()
    step: int = 0


_CONSTANT = _Origin(False, frozenset())
_EXAMPLE = _Origin(True, frozenset())

#: Primitives that write into their first operand. Weights that examples write into are a state (a key-value cache).
_UPDATES = frozenset({"dynamic_update_slice", "scatter", "scatter-add", "scatter_add"})


def workload(
    function: Callable[..., Any],
    *args: Any,
    weights: int | Sequence[int] = 0,
    examples: int = 1,
    while_loops: int | None = None,
    **options: Any,
) -> Operations:
    """Count the operations of one call ``function(*args, **options)``. Nothing is computed.

    Args:
      function: any function that JAX can trace.
      *args: its arguments, pytrees of arrays or ``jax.ShapeDtypeStruct``.
      weights: index of the argument, or arguments, that are weights; ``()`` for none.
      examples: number of examples in the call.
      while_loops: number of iterations of a ``while`` loop, if the function has one.
      **options: keyword arguments, passed unchanged.

    Returns:
      The operations, as ``Operations``.

    Raises:
      InputError: for a ``while`` loop without ``while_loops``, or an unknown primitive with an inner program.

    Example:
      >>> import jax.numpy as jnp
      >>> work = workload(lambda w, x: jnp.tanh(x @ w), jnp.ones((64, 10)), jnp.ones((2, 64)), examples=2)
      >>> work.macs, work.results, work.weights
      (1280, 20, 640)
    """
    chosen = (weights,) if isinstance(weights, int) else tuple(weights)
    for number in chosen:
        if not 0 <= number < len(args):
            raise InputError(f"weights = {number}: must be the index of an argument, 0 to {len(args) - 1}")
    check_integer(examples, "examples")
    closed = jax.make_jaxpr(lambda *a: function(*a, **options))(*args)
    walk = _Walk(while_loops)
    origins = []
    for number, arg in enumerate(args):
        for leaf in jax.tree.leaves(arg):
            origins.append(walk.weight(leaf) if number in chosen else walk.example(leaf))
    consts = [walk.weight(value) for value in closed.consts]  # arrays that the function closes over
    walk.program(closed.jaxpr, [*consts, *origins], 1, "")
    return Operations(tuple(walk.operations), int(examples), walk.parameters, tuple(walk.uncounted.items()))


class _Walk:
    """The state of one walk: the operations so far, and which weights have been read."""

    def __init__(self, while_loops: int | None):
        self.while_loops = while_loops
        self.operations: list[Operation] = []
        self.uncounted: dict[str, int] = {}
        self.sizes: list[int] = []
        self.parameters = 0
        self.left: dict[int, int] = {}  # per leaf of the arguments: words not yet read
        self.loops: tuple[int, ...] = ()
        self.n_loops = 0
        self.read: dict[frozenset[int], int] = {}
        self.silent = 0  # > 0 while only origins are followed, without counting

    def weight(self, leaf: Any) -> _Origin:
        """Return the origin of a new leaf of the weights; integers (a position, a step) are not weights."""
        dtype = getattr(leaf, "dtype", None)
        if dtype is None or not jax.numpy.issubdtype(dtype, jax.numpy.inexact):
            return _CONSTANT
        self.parameters += math.prod(np.shape(leaf))
        return _Origin(False, frozenset([self.leaf(leaf)]))

    def example(self, leaf: Any) -> _Origin:
        """Return the origin of a new leaf of the other arguments, which belong to the examples."""
        return _Origin(True, frozenset(), frozenset([self.leaf(leaf)]))

    def leaf(self, leaf: Any) -> int:
        self.sizes.append(math.prod(np.shape(leaf)))
        self.left[len(self.sizes) - 1] = self.sizes[-1]
        return len(self.sizes) - 1

    def program(self, jaxpr: Any, origins: list[_Origin], times: int, scope: str) -> list[_Origin]:
        """Count a program ``times`` times; return the origins of its results."""
        origin_of: dict[Any, _Origin] = dict(zip([*jaxpr.constvars, *jaxpr.invars], origins, strict=True))

        def origin(atom: Any) -> _Origin:
            # Only a jaxpr's literals hold a value; they are not among its variables.
            return _CONSTANT if hasattr(atom, "val") else origin_of[atom]

        for eqn in jaxpr.eqns:
            inputs = [origin(atom) for atom in eqn.invars]
            here = "/".join(part for part in (scope, str(eqn.source_info.name_stack)) if part)
            results = self.equation(eqn, inputs, times, here)
            origin_of.update(zip(eqn.outvars, results, strict=True))
        return [origin(atom) for atom in jaxpr.outvars]

    def equation(self, eqn: jax.extend.core.JaxprEqn, inputs: list[_Origin], times: int, scope: str) -> list[_Origin]:
        name, params = eqn.primitive.name, eqn.params
        if name in CALLS:
            inner = params.get(CALLS[name]) or params.get("call_jaxpr") or params.get("jaxpr")
            return self.inside(inner, inputs, times, scope)
        if name == "scan":
            return self.scan(params, inputs, times, scope)
        if name == "while":
            return self.while_loop(params, inputs, times, scope)
        if name == "cond":
            return self.cond(params, inputs, times, scope)
        if name == "shard_map":
            # The inner program has the shapes of one device's part, and every device of the mesh runs it.
            return self.inside(params["jaxpr"], inputs, times * params["mesh"].size, scope)
        if name in BY_OPERAND or name in MOVES or name in BY_RESULT:
            pass
        elif any(_is_program(value) for value in params.values()):
            raise InputError(f"workload: cannot count the primitive {name!r}, which runs an unknown inner program")
        if name in _UPDATES and inputs[0].weights and any(origin.from_examples for origin in inputs):
            inputs = [inputs[0]._replace(outside=inputs[0].weights), *inputs[1:]]
        if not self.silent:
            self.count(eqn, inputs, times, scope)
        result = _joined(inputs)
        if name in ("dot_general", "conv_general_dilated") or _looks_up(eqn, inputs):
            result = result._replace(outside=frozenset(), step=result.step + 1)
        return [result] * len(eqn.outvars)

    def inside(self, program: Any, inputs: list[_Origin], times: int, scope: str) -> list[_Origin]:
        jaxpr = getattr(program, "jaxpr", program)
        consts = [_CONSTANT] * len(jaxpr.constvars)
        return self.program(jaxpr, [*consts, *inputs], times, scope)

    def settled(self, step: Callable[[list[_Origin]], list[_Origin]], carry: list[_Origin]) -> list[_Origin]:
        """Return the origins of a loop's carry, iterated until they stop changing."""
        self.silent += 1
        while True:
            # Steps are left out: a product in the body raises them at every pass, and the carry would never settle.
            after = [_joined([a, b])._replace(step=a.step) for a, b in zip(carry, step(carry), strict=True)]
            if after == carry:
                self.silent -= 1
                return carry
            carry = after

    def in_loop(self, inputs: list[_Origin]) -> list[_Origin]:
        """Enter a loop, which starts when all of its inputs are ready."""
        if not self.silent:
            self.n_loops += 1
            self.loops = (*self.loops, self.n_loops)
        start = max((origin.step for origin in inputs), default=0)
        return [origin._replace(step=start) for origin in inputs]

    def out_of_loop(self, results: list[_Origin]) -> list[_Origin]:
        if not self.silent:
            self.loops = self.loops[:-1]
        end = max((origin.step for origin in results), default=0)
        return [origin._replace(step=end) for origin in results]

    def scan(self, params: dict[str, Any], inputs: list[_Origin], times: int, scope: str) -> list[_Origin]:
        inputs = self.in_loop(inputs)
        n_consts, n_carry, length = params["num_consts"], params["num_carry"], params["length"]
        consts, carry, xs = inputs[:n_consts], inputs[n_consts : n_consts + n_carry], inputs[n_consts + n_carry :]
        run = lambda c, n: self.inside(params["jaxpr"], [*consts, *c, *xs], n, scope)  # noqa: E731
        carry = self.settled(lambda c: run(c, 0)[:n_carry], carry)
        return self.out_of_loop(run(carry, times * length))

    def while_loop(self, params: dict[str, Any], inputs: list[_Origin], times: int, scope: str) -> list[_Origin]:
        if self.while_loops is None:
            raise InputError(
                "while_loops = None: the function has a while loop, whose number of iterations is not in the program; "
                "give it as an integer, or use fori_loop or scan with fixed bounds"
            )
        inputs = self.in_loop(inputs)
        n_cond, n_body = params["cond_nconsts"], params["body_nconsts"]
        of_cond, of_body, carry = inputs[:n_cond], inputs[n_cond : n_cond + n_body], inputs[n_cond + n_body :]
        run = lambda c, n: self.inside(params["body_jaxpr"], [*of_body, *c], n, scope)  # noqa: E731
        carry = self.settled(lambda c: run(c, 0), carry)
        # The condition runs once more than the body.
        self.inside(params["cond_jaxpr"], [*of_cond, *carry], times * (self.while_loops + 1), scope)
        return self.out_of_loop(run(carry, times * self.while_loops))

    def cond(self, params: dict[str, Any], inputs: list[_Origin], times: int, scope: str) -> list[_Origin]:
        """Count the branch with the most arithmetic: all are counted, and the rest is rolled back."""
        tried = []
        for branch in params["branches"]:
            before = len(self.operations), dict(self.uncounted), dict(self.read), dict(self.left)
            results = self.inside(branch, inputs[1:], times, scope)
            branch_operations = self.operations[before[0] :]
            flop = sum(2 * op.total_macs + op.total_results for op in branch_operations)
            tried.append((flop, branch_operations, results, (dict(self.uncounted), dict(self.read), dict(self.left))))
            del self.operations[before[0] :]
            self.uncounted, self.read, self.left = before[1:]
        best = max(range(len(tried)), key=lambda i: tried[i][0])
        _, branch_operations, _, (self.uncounted, self.read, self.left) = tried[best]
        self.operations += branch_operations
        from_index = inputs[0]
        outputs = zip(*(results for _, _, results, _ in tried), strict=True)
        return [_joined([from_index, *of_branches]) for of_branches in outputs]

    def count(self, eqn: Any, inputs: list[_Origin], times: int, scope: str) -> None:
        name, sizes = eqn.primitive.name, [math.prod(v.aval.shape) for v in eqn.outvars]
        if name in MOVES or times == 0 or CHECKS in scope:
            return
        if name in ("dot_general", "conv_general_dilated"):
            shape = _product(eqn, inputs) if name == "dot_general" else _convolution(eqn)
            kind = "product" if name == "dot_general" else "convolution"
            self.add(eqn, inputs, times, scope, kind, shape=shape, macs=shape.macs)
        elif name == "gather":
            if _looks_up(eqn, inputs):
                self.lookup(eqn, inputs, times, scope)
        elif name in BY_RESULT:
            self.other(eqn, inputs, times, scope, sum(sizes))
        elif name in BY_OPERAND:
            self.other(eqn, inputs, times, scope, math.prod(eqn.invars[0].aval.shape))
        elif name == "sort":
            length = eqn.invars[0].aval.shape[eqn.params["dimension"]]
            self.other(eqn, inputs, times, scope, sizes[0] * max(1, math.ceil(math.log2(max(length, 2)))))
        else:
            self.uncounted[name] = self.uncounted.get(name, 0) + times

    def other(self, eqn: jax.extend.core.JaxprEqn, inputs: list[_Origin], times: int, scope: str, results: int) -> None:
        name = eqn.primitive.name
        if name == "div" and not (inputs[1].from_examples or inputs[1].weights):
            name = "mul"  # compilers multiply by the inverse of a constant
        additions, multiplications = COST.get(name, (1, 0))
        counts = dict(additions=results * additions, multiplications=results * multiplications)
        self.add(eqn, inputs, times, scope, "elementwise", results=results, **counts)

    def lookup(self, eqn: jax.extend.core.JaxprEqn, inputs: list[_Origin], times: int, scope: str) -> None:
        words, bits = _size(eqn.outvars[0]), _bits(eqn.invars[0])
        self.operations.append(
            Operation(
                kind="lookup", primitive="gather", scope=_clean(scope), layer=_layer(scope), repeats=times,
                weight_words=words, new_weight_words=times * words, weight_bits=bits, weight_leaves=inputs[0].weights,
                input_words=_size(eqn.invars[1]), input_bits=_bits(eqn.invars[1]),
                new_input_words=self.brought(inputs[1], _size(eqn.invars[1]), times),
                output_words=words, output_bits=bits, per_example=inputs[1].from_examples,
                loop=self.loops, step=_joined(inputs).step + 1,
            )
        )  # fmt: skip

    def add(
        self, eqn: jax.extend.core.JaxprEqn, inputs: list[_Origin], times: int, scope: str, kind: str, **counts: Any
    ) -> None:
        per_example = any(origin.from_examples for origin in inputs)
        moved: dict[str, Any] = {}
        if kind != "elementwise":
            weight_operands = [
                (v, o) for v, o in zip(eqn.invars, inputs, strict=True) if o.weights and not o.from_examples
            ]
            data_operands = [
                (v, o) for v, o in zip(eqn.invars, inputs, strict=True) if not (o.weights and not o.from_examples)
            ]
            data = [v for v, _ in data_operands]
            moved = dict(
                weight_words=sum(_size(v) for v, _ in weight_operands),
                new_weight_words=sum(self.unread(o.weights, _size(v), times) for v, o in weight_operands),
                distinct_weight_words=sum(self.distinct(o.weights, _size(v), times) for v, o in weight_operands),
                weight_leaves=frozenset().union(*(o.weights for _, o in weight_operands)),
                input_words=sum(map(_size, data)),
                new_input_words=sum(self.brought(o, _size(v), times) for v, o in data_operands),
                output_words=_size(eqn.outvars[0]),
                weight_bits=_bits(weight_operands[0][0]) if weight_operands else 32,
                input_bits=_bits(data[0]) if data else 32,
                output_bits=_bits(eqn.outvars[0]),
            )
        self.operations.append(
            Operation(
                kind=kind, primitive=eqn.primitive.name, scope=_clean(scope), layer=_layer(scope), repeats=times,
                per_example=per_example, loop=self.loops, step=_joined(inputs).step + (kind != "elementwise"),
                **counts, **moved,
            )
        )  # fmt: skip

    def unread(self, roots: frozenset[int], words: int, times: int) -> int:
        """Return how many of ``words`` read ``times`` times are read for the first time: at most the weight's size."""
        size = max(sum(self.sizes[root] for root in roots), words)  # a weight may have been broadcast
        before = self.read.get(roots, 0)
        self.read[roots] = max(before, min(before + times * words, size))
        return self.read[roots] - before

    def distinct(self, roots: frozenset[int], words: int, times: int) -> int:
        """Return how many distinct words of a weight are read if ``words`` are read ``times`` times."""
        return min(times * words, max(sum(self.sizes[root] for root in roots), words))

    def brought(self, origin: _Origin, words: int, times: int) -> int:
        """Return how many words of an operand are read from outside for the first time: at most what is unread."""
        taken = 0
        for leaf in sorted(origin.outside):
            words_of_leaf = min(self.left[leaf], times * words - taken)
            self.left[leaf] -= words_of_leaf
            taken += words_of_leaf
        return taken


def _joined(origins: Sequence[_Origin]) -> _Origin:
    step = max((origin.step for origin in origins), default=0)
    if any(origin.from_examples for origin in origins):
        return _Origin(True, frozenset(), frozenset().union(*(origin.outside for origin in origins)), step)
    return _Origin(False, frozenset().union(*(origin.weights for origin in origins)), step=step)


def _looks_up(eqn: jax.extend.core.JaxprEqn, inputs: Sequence[_Origin]) -> bool:
    """Return True if the equation looks up rows in a table of weights."""
    return eqn.primitive.name == "gather" and bool(inputs[0].weights) and not inputs[0].from_examples


def _is_program(value: Any) -> bool:
    items = value if isinstance(value, (tuple, list)) else (value,)
    return any(hasattr(item, "eqns") or hasattr(item, "jaxpr") for item in items)


def _size(variable: Any) -> int:
    return math.prod(variable.aval.shape)


def _bits(variable: Any) -> int:
    dtype = variable.aval.dtype
    return int(jax.dtypes.itemsize_bits(dtype)) if hasattr(jax.dtypes, "itemsize_bits") else 8 * dtype.itemsize


def _layer(scope: str) -> str:
    paths = _LAYER.findall(scope)
    return paths[-1] if paths else ""


def _clean(scope: str) -> str:
    return _LAYER.sub("", scope).replace("//", "/").strip("/")


def _product(eqn: Any, inputs: list[_Origin]) -> MatrixProductShape:
    (contract_l, contract_r), (batch_l, batch_r) = eqn.params["dimension_numbers"]
    left, right = (v.aval.shape for v in eqn.invars)
    k = math.prod(left[a] for a in contract_l)
    count = math.prod(left[a] for a in batch_l)
    m = math.prod(d for a, d in enumerate(left) if a not in (*contract_l, *batch_l))
    n = math.prod(d for a, d in enumerate(right) if a not in (*contract_r, *batch_r))
    if inputs[0].weights and not inputs[0].from_examples:  # weights to the left: the vectors are to the right
        m, n = n, m
    return MatrixProductShape(count=count, vectors=m, n_in=k, n_out=n)


def _convolution(eqn: Any) -> ConvolutionShape:
    p = eqn.params
    numbers = p["dimension_numbers"]
    image, kernel, result = (v.aval.shape for v in (*eqn.invars, *eqn.outvars))
    spatial = range(len(numbers.lhs_spec) - 2)
    taps = tuple(kernel[numbers.rhs_spec[2 + a]] for a in spatial)
    outputs = tuple(result[numbers.out_spec[2 + a]] for a in spatial)
    stride, input_dilation, dilation = p["window_strides"], p["lhs_dilation"], p["rhs_dilation"]
    sizes = [(image[numbers.lhs_spec[2 + a]] - 1) * input_dilation[a] + 1 for a in spatial]
    groups, batch_groups = p["feature_group_count"], p["batch_group_count"]
    meetings = math.prod(taps) * math.prod(outputs)
    if any(s > 1 for s in input_dilation):  # the zeros between dilated inputs are not multiplied
        meetings = 1
        for a in spatial:
            at = np.arange(outputs[a])[:, None] * stride[a] + np.arange(taps[a]) * dilation[a] - p["padding"][a][0]
            meetings *= int(np.sum((at >= 0) & (at < sizes[a]) & (at % input_dilation[a] == 0)))
    return ConvolutionShape(
        images=image[numbers.lhs_spec[0]] // batch_groups,
        groups=groups * batch_groups,
        channels=kernel[numbers.rhs_spec[1]],
        filters=kernel[numbers.rhs_spec[0]] // (groups * batch_groups),
        pixels=math.prod(image[numbers.lhs_spec[2 + a]] for a in spatial),
        size=tuple(size + sum(p["padding"][a]) for a, size in zip(spatial, sizes, strict=True)),
        window=tuple((t - 1) * d + 1 for t, d in zip(taps, dilation, strict=True)),
        stride=tuple(stride),
        taps=taps,
        outputs=outputs,
        meetings=meetings,
    )
