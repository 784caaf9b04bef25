"""Arithmetic per JAX primitive: which primitives only move numbers, and which compute once per result or operand.

A primitive that is not listed here is reported as uncounted, never taken as free. The arithmetic of a result is counted
in additions and multiplications: one addition for most, and for functions those of a typical single-precision program
(``COST``): the argument is reduced, and a polynomial by Horner's rule takes one multiplication and one addition per
degree; a division and a root start from a table and are refined twice.
"""

from analogsim.base.literature import Source

#: Copies, transposes, conversions: no arithmetic.
MOVES = frozenset({
    "bitcast_convert_type", "broadcast_in_dim", "complex", "concatenate", "convert_element_type", "copy",
    "copy_p", "create_token", "debug_callback", "device_put", "dynamic_slice", "dynamic_update_slice", "empty",
    "expand_dims", "full", "imag", "iota", "layout_constraint", "mesh_cast", "name", "optimization_barrier",
    "pad", "pcast", "psum_invariant", "pvary", "random_seed", "random_unwrap", "random_wrap", "real",
    "reduce_precision", "reshape", "reshard", "rev", "sharding_constraint", "slice", "split", "squeeze",
    "stop_gradient", "transpose",
})  # fmt: skip

#: One operation per element of the result.
BY_RESULT = frozenset({
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh", "bessel_i0e",
    "bessel_i1e", "cbrt", "ceil", "clamp", "clz", "conj", "cos", "cosh", "cumlogsumexp", "cummax", "cummin",
    "cumprod", "cumsum", "digamma", "div", "eq", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge",
    "gt", "igamma", "igamma_grad_a", "igammac", "integer_pow", "is_finite", "le", "lgamma", "log", "log1p",
    "log2", "logistic", "lt", "max", "min", "mul", "mulhi", "ne", "neg", "nextafter", "not", "or",
    "population_count", "pow", "random_bits", "random_fold_in", "random_gamma_grad", "random_split",
    "regularized_incomplete_beta", "rem", "round", "rsqrt", "select_n", "shift_left", "shift_right_arithmetic",
    "shift_right_logical", "sign", "sin", "sinh", "sqrt", "square", "sub", "tan", "tanh", "threefry2x32", "xor",
})  # fmt: skip

#: One operation per element of the operand.
BY_OPERAND = frozenset({
    "approx_top_k", "argmax", "argmin", "pmax", "pmin", "psum", "reduce", "reduce_and", "reduce_max",
    "reduce_min", "reduce_or", "reduce_prod", "reduce_sum", "reduce_window", "reduce_window_max",
    "reduce_window_min", "reduce_window_sum", "reduce_xor", "scatter", "scatter-add", "scatter-max",
    "scatter-min", "scatter-mul", "scatter_add", "scatter_max", "scatter_min", "scatter_mul",
    "select_and_gather_add", "select_and_scatter_add", "top_k",
})  # fmt: skip

#: Primitives that run one inner program once, and the parameter that holds it. JAX versions differ in these names.
CALLS = {
    "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr", "remat2": "jaxpr",
    "checkpoint": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr", "custom_lin": "jaxpr", "composite": "jaxpr",
}  # fmt: skip

#: Sums, largest values and the like along an axis: each result waits for many operands.
ALONG_AN_AXIS = BY_OPERAND | {"cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum", "sort"}

_EXP, _DIVISION, _ROOT, _LOG, _ANGLE = (8, 8), (5, 6), (2, 8), (10, 10), (8, 9)


def _both(*costs: tuple[int, int]) -> tuple[int, int]:
    return sum(a for a, _ in costs), sum(b for _, b in costs)


#: Additions and multiplications per result; (1, 0) for primitives that are not listed.
COST: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("mul", "mulhi", "square", "reduce_prod", "cumprod", "scatter-mul", "scatter_mul"), (0, 1)),
    "integer_pow": (0, 2),
    **dict.fromkeys(("div", "rem"), _DIVISION),
    **dict.fromkeys(("sqrt", "rsqrt"), _ROOT),
    "cbrt": _both(_ROOT, _DIVISION),
    **dict.fromkeys(("exp", "exp2", "expm1"), _EXP),
    **dict.fromkeys(("log", "log2", "log1p"), _LOG),
    "pow": _both(_EXP, _LOG, (0, 1)),
    **dict.fromkeys(("logistic", "tanh"), _both(_EXP, _DIVISION, (1, 0))),
    **dict.fromkeys(("sinh", "cosh"), _both(_EXP, _DIVISION, (1, 1))),
    **dict.fromkeys(("sin", "cos"), _ANGLE),
    **dict.fromkeys(("tan", "asin", "acos", "atan", "atan2"), _both(_ANGLE, _DIVISION)),
    **dict.fromkeys(("asinh", "acosh", "atanh"), _both(_LOG, _ROOT, (2, 1))),
    **dict.fromkeys(("erf", "erfc"), _both((11, 12), _DIVISION)),
    "erf_inv": _both(_LOG, _ROOT, (9, 9)),
    "cumlogsumexp": _both(_EXP, _LOG, (2, 0)),
    **dict.fromkeys(
        ("lgamma", "digamma", "igamma", "igamma_grad_a", "igammac", "random_gamma_grad", "regularized_incomplete_beta",
         "bessel_i0e", "bessel_i1e"),
        _both(_EXP, _LOG, _DIVISION, (20, 20)),
    ),
    **dict.fromkeys(("random_bits", "threefry2x32", "random_split", "random_fold_in"), (36, 0)),
}  # fmt: skip

COST_SOURCE = Source(
    note="additions and multiplications of single-precision programs: polynomials of degree 5 (exp), 8 (log), "
    "6 over 4 (erf); two refinements of a division or root; 20 rounds of Threefry", recalled=True,
)  # fmt: skip
