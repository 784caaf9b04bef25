"""What JAX's primitives do, for counting: which only move numbers, which compute one for each result or operand.

A primitive that stands nowhere here is reported as uncounted, never taken for free.
"""

#: Copies, transposes, conversions: no arithmetic.
MOVES = frozenset({
    "bitcast_convert_type", "broadcast_in_dim", "complex", "concatenate", "convert_element_type", "copy",
    "copy_p", "create_token", "debug_callback", "device_put", "dynamic_slice", "dynamic_update_slice", "empty",
    "expand_dims", "full", "imag", "iota", "layout_constraint", "mesh_cast", "name", "optimization_barrier",
    "pad", "pcast", "psum_invariant", "pvary", "random_seed", "random_unwrap", "random_wrap", "real",
    "reduce_precision", "reshape", "reshard", "rev", "sharding_constraint", "slice", "split", "squeeze",
    "stop_gradient", "transpose",
})  # fmt: skip

#: One operation for each number of the result.
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

#: One operation for each number of the operand.
BY_OPERAND = frozenset({
    "approx_top_k", "argmax", "argmin", "pmax", "pmin", "psum", "reduce", "reduce_and", "reduce_max",
    "reduce_min", "reduce_or", "reduce_prod", "reduce_sum", "reduce_window", "reduce_window_max",
    "reduce_window_min", "reduce_window_sum", "reduce_xor", "scatter", "scatter-add", "scatter-max",
    "scatter-min", "scatter-mul", "scatter_add", "scatter_max", "scatter_min", "scatter_mul",
    "select_and_gather_add", "select_and_scatter_add", "top_k",
})  # fmt: skip

#: Where a primitive keeps the one program that it runs once.
CALLS = {
    "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr", "remat2": "jaxpr",
    "checkpoint": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr", "custom_lin": "jaxpr", "composite": "jaxpr",
}  # fmt: skip
