"""Codecs: representations of a matrix before it is stored.

``TensorTrain`` and ``LowRank`` factor a matrix ``[n_in, n_out]`` (y = x W) into cores, for one of four targets:

    rel_error     ||W - W'||_F / ||W||_F at most this; ranks follow from the values
    rank          every rank at most this
    max_params    a small error with at most this many parameters
    max_fraction  the same, as a fraction of n_in n_out

Ranks for a budget come from the singular values of each cut of the matrix: bisection finds the smallest eps for which
ranks that lose eps ||W||_F / sqrt(d - 1) at a cut fit the budget; the rest of the budget then raises single ranks, each
time the one that removes the most squared error per parameter. With one cut (low rank, two cores) the result is
optimal; with more cuts the search is greedy, and other ranks may be slightly better.

Sources: I. V. Oseledets, SIAM J. Sci. Comput. 33, 2295 (2011), doi 10.1137/090752286; A. Novikov et al., NIPS 2015,
arXiv:1509.06569; for low rank C. Eckart, G. Young, Psychometrika 1, 211 (1936), doi 10.1007/BF02288367.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from analogsim.base.checks import check_integer
from analogsim.base.description import Description, static
from analogsim.base.dtypes import wide
from analogsim.base.errors import InputError, brief, within
from analogsim.base.literature import Source
from analogsim.factors.layout import MOST_CORES, CoreLayout, balanced_modes
from analogsim.factors.record import Compression
from analogsim.factors.trains import check_error, initial, interleaved, rounding_noise, train_of, truncation_rank


class CodecDoesNotFit(InputError):
    """Raised if a codec cannot represent a matrix of this size: its modes differ, or its budget is below rank 1."""


_TARGETS = ("rel_error", "rank", "max_params", "max_fraction")


class Codec(Description):
    """Base class of codecs, with the target fields; exactly one of them must be given.

    Use ``TensorTrain`` or ``LowRank``, which have examples.
    """

    rel_error: Any = static(default=None, doc="largest relative error, Frobenius norm")
    rank: Any = static(default=None, doc="largest rank")
    max_params: Any = static(default=None, doc="largest number of parameters per matrix")
    max_fraction: Any = static(default=None, doc="the same as a fraction of the matrix's entries")

    def check(self) -> None:
        name = type(self).__name__
        targets_set = [target for target in _TARGETS if getattr(self, target) is not None]
        if len(targets_set) != 1:
            shown = "none" if not targets_set else " and ".join(targets_set)
            raise InputError(f"{name} takes exactly one of {', '.join(_TARGETS)}, not {shown}")
        value = getattr(self, targets_set[0])
        if targets_set[0] == "rel_error":
            with within("rel_error"):
                check_error(value, f"{name}.rel_error")
        elif targets_set[0] == "max_fraction":
            if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)) or not 0 < value <= 1:
                self.refuse("max_fraction", "must be greater than 0 and at most 1")
        else:
            with within(targets_set[0]):
                check_integer(value, f"{name}.{targets_set[0]}")

    def modes(self, n_in: int, n_out: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the modes of the inputs and of the outputs for a matrix of this size."""
        raise NotImplementedError

    def layout(self, n_in: int, n_out: int) -> CoreLayout:
        """Return modes and ranks from the size alone, as for a matrix trained from scratch.

        For a budget, all cuts get the largest common rank that fits, capped by what the modes allow.

        Raises:
          InputError: for the target ``rel_error``, whose ranks follow from the values of a matrix.
        """
        if self.rel_error is not None:
            raise InputError(
                f"{type(self).__name__}(rel_error={self.rel_error}): ranks follow from the values of a matrix, and "
                f"here only its size is known; give rank, max_params or max_fraction"
            )
        modes_in, modes_out = self.modes(n_in, n_out)
        layout = CoreLayout(modes_in, modes_out, (1,) * (len(modes_in) - 1))
        if self.rank is not None:
            return layout.with_rank(self.rank)
        budget = self._budget(layout)
        rank, largest = 1, max(layout.full_ranks, default=1)
        while rank < largest and layout.with_rank(rank + 1).params <= budget:
            rank += 1
        return layout.with_rank(rank)

    def compress(self, w: Any) -> tuple[tuple[jax.Array, ...], Compression]:
        """Factor a matrix into cores.

        Args:
          w: ``[n_in, n_out]``, real and concrete, since ranks follow from the values (within ``jax.jit`` use
            ``encode``).

        Returns:
          Cores ``[r_(k-1), m_k, n_k, r_k]`` of the matrix's dtype, and a record of the compression. Ranks are computed
          in double precision; rounding the cores to their dtype adds to ``rel_error`` and is included in the record.

        Raises:
          InputError: if ``w`` is not a real matrix, is traced, contains NaN or infinity, does not have the size of the
            given modes, or takes more parameters at rank 1 than the budget allows.
        """
        _check_matrix(w)
        if isinstance(w, jax.core.Tracer):
            raise InputError(
                f"{type(self).__name__}.compress: w is traced, but ranks follow from its values: use encode with rank"
            )
        matrix = np.asarray(w, np.float64)
        if not np.all(np.isfinite(matrix)):
            raise InputError("w: contains NaN or infinity: must be finite")
        dtype = jnp.result_type(w)
        modes_in, modes_out = self.modes(*matrix.shape)
        choose = self._choose(matrix, modes_in, modes_out, dtype)
        cores = [np.asarray(c) for c in train_of(matrix, modes_in, modes_out, choose)]
        factors = tuple(jnp.asarray(core, dtype) for core in cores)
        return factors, Compression.of(matrix, factors)

    def encode(self, w: jax.Array) -> tuple[jax.Array, ...]:
        """Factor a matrix ``[n_in, n_out]`` under ``jax.jit``, with the ranks of ``layout``, capped by the matrix's.

        It is not differentiable, as the derivative of singular vectors is unbounded where singular values coincide.

        Raises:
          InputError: for the target ``rel_error``, or when it is differentiated.
        """
        _check_matrix(w)
        if self.rel_error is not None:
            raise InputError(
                f"{type(self).__name__}.encode: shapes must be known before the values are, so give rank, max_params "
                f"or max_fraction; for rel_error compress beforehand (codec.compress, or codecs.compress for a model)"
            )
        layout = self.layout(*w.shape)
        return _encoded(w, layout.modes_in, layout.modes_out, layout.ranks)

    def initial(
        self, key: jax.Array, n_in: int, n_out: int, variance: float | None = None, dtype: DTypeLike = jnp.float32
    ):
        """Draw random cores for training from scratch; see ``codecs.initial``."""
        return initial(key, self.layout(n_in, n_out), variance, dtype)

    def _budget(self, layout: CoreLayout) -> int:
        budget = self.max_params if self.max_params is not None else math.floor(self.max_fraction * layout.dense)
        smallest = layout.with_rank(1).params
        if budget < smallest:
            raise CodecDoesNotFit(
                f"{type(self).__name__}: a budget of {budget} numbers for a {layout.n_in} x {layout.n_out} matrix: at "
                f"rank 1 its cores ({layout.with_rank(1)}) take {smallest} already"
            )
        return budget

    def _choose(self, w: np.ndarray, modes_in: tuple[int, ...], modes_out: tuple[int, ...], dtype: DTypeLike) -> Any:
        """Function of cut and singular values that returns how many of them to keep."""
        noise = rounding_noise(dtype if self.rel_error is None else np.float64, max(w.shape))
        if self.rank is not None:
            return lambda k, s: truncation_rank(s, 0.0, self.rank, noise)
        size, cuts = float(np.linalg.norm(w)), max(len(modes_in) - 1, 1)
        if self.rel_error is not None:
            return lambda k, s: truncation_rank(s, self.rel_error * size / math.sqrt(cuts), noise=noise)
        ranks = self._ranks_in_budget(w, modes_in, modes_out, noise)
        # Truncation at earlier cuts may leave fewer singular values here than the matrix's cut has.
        return lambda k, s: min(ranks[k], len(s))

    def _ranks_in_budget(
        self, w: np.ndarray, modes_in: tuple[int, ...], modes_out: tuple[int, ...], noise: float
    ) -> tuple[int, ...]:
        layout = CoreLayout(modes_in, modes_out, (1,) * (len(modes_in) - 1))
        budget, size, cuts = self._budget(layout), float(np.linalg.norm(w)), max(len(modes_in) - 1, 1)
        tensor = interleaved(w, modes_in, modes_out)
        spectra = [
            np.linalg.svd(tensor.reshape(math.prod(tensor.shape[:k]), -1), compute_uv=False)
            for k in range(1, len(modes_in))
        ]

        def at(eps: float) -> CoreLayout:
            ranks = [truncation_rank(s, eps * size / math.sqrt(cuts), noise=noise) for s in spectra]
            return CoreLayout(modes_in, modes_out, tuple(ranks))

        if at(0.0).params <= budget:
            return at(0.0).ranks
        low, high = 0.0, math.sqrt(cuts)  # at the upper end each cut may lose everything but keeps rank 1
        # `high` always fits the budget; 50 halvings reach the resolution of double precision.
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if at(middle).params <= budget else (middle, high)
        return _raised(at(high), spectra, at(0.0).ranks, budget).ranks


class TensorTrain(Codec):
    """Tensor-train codec (matrix product operator); see ``analogsim.factors.layout``.

    Without modes, each dimension is split into ``cores`` factors that are as equal as possible. A prime dimension
    becomes one mode and ones.

    Raises:
      InputError: unless exactly one target is given, for a rank below 1, or for different numbers of modes.

    Example:
      >>> import jax
      >>> w = jax.random.normal(jax.random.key(0), (64, 64)) / 8
      >>> factors, record = TensorTrain(cores=3, max_fraction=0.25).compress(w)
      >>> record.layout.modes_in, record.params <= 1024
      ((4, 4, 4), True)
    """

    cores: Any = static(
        default=3, doc="number of cores, from 2 to 8; that of the modes if they are given",
        source=Source(note="assumed: three modes of about eight each for the layers of common networks"),
    )  # fmt: skip
    modes_in: Any = static(default=None, doc="modes of the inputs, e.g. (8, 8); None: balanced")
    modes_out: Any = static(default=None, doc="modes of the outputs; None: balanced")

    def check(self) -> None:
        super().check()
        if (self.modes_in is None) != (self.modes_out is None):
            raise InputError("TensorTrain: give both modes_in and modes_out, or neither for balanced ones")
        if self.modes_in is not None:
            for name in ("modes_in", "modes_out"):
                value = getattr(self, name)
                if not isinstance(value, (tuple, list)) or not value:
                    raise InputError(f"TensorTrain.{name} = {value!r}: must be integers, for example (4, 8, 8)")
                digits = tuple(check_integer(mode, f"TensorTrain.{name}") for mode in value)
                object.__setattr__(self, name, digits)
            if len(self.modes_in) != len(self.modes_out):
                raise InputError(
                    f"TensorTrain: modes_in = {self.modes_in} and modes_out = {self.modes_out}: must be equally many, "
                    f"one of each per core"
                )
            object.__setattr__(self, "cores", len(self.modes_in))
        else:
            check_integer(self.cores, "TensorTrain.cores", ge=2, le=MOST_CORES)

    def modes(self, n_in: int, n_out: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if self.modes_in is None:
            return balanced_modes(n_in, n_out, self.cores)
        for name, size in (("modes_in", n_in), ("modes_out", n_out)):
            product = math.prod(getattr(self, name))
            if product != size:
                raise CodecDoesNotFit(
                    f"TensorTrain.{name} = {getattr(self, name)}: multiplies to {product}, the matrix has {size} "
                    f"{'inputs' if name == 'modes_in' else 'outputs'}"
                )
        return self.modes_in, self.modes_out


class LowRank(Codec):
    """Low-rank codec: a product A B from the singular value decomposition, optimal at its rank (Eckart and Young).

    Its two cores ``[1, n_in, 1, r]`` and ``[r, 1, n_out, 1]`` are A and B with axes of size one, so that all functions
    of cores accept them. It is the baseline for every train, and on matrices without structure it is often better.

    Example:
      >>> import jax
      >>> (a, b), record = LowRank(rank=2).compress(jax.random.normal(jax.random.key(0), (6, 5)))
      >>> a.shape, b.shape, record.params
      ((1, 6, 1, 2), (2, 1, 5, 1), 22)
    """

    def modes(self, n_in: int, n_out: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (n_in, 1), (1, n_out)


def _raised(layout: CoreLayout, spectra: list[np.ndarray], limits: tuple[int, ...], budget: int) -> CoreLayout:
    """Raise single ranks while the budget allows, each time the one that removes most squared error per parameter."""
    while True:
        best: tuple[float, CoreLayout] | None = None
        for k, rank in enumerate(layout.ranks):
            if rank >= limits[k]:
                continue
            higher = dataclasses.replace(layout, ranks=(*layout.ranks[:k], rank + 1, *layout.ranks[k + 1 :]))
            left, m, n, _ = layout.shapes[k]
            _, m_after, n_after, after = layout.shapes[k + 1]
            fits = higher.params <= budget and rank < min(left * m * n, m_after * n_after * after)
            gain = float(spectra[k][rank]) ** 2 / (left * m * n + m_after * n_after * after)
            if fits and (best is None or gain > best[0]):
                best = gain, higher
        if best is None:
            return layout
        layout = best[1]


def _check_matrix(w: Any) -> None:
    if getattr(w, "ndim", None) != 2 or 0 in w.shape:
        raise InputError(f"w = {brief(w)}: must be a matrix [n_in, n_out]")
    if not jnp.issubdtype(w.dtype, jnp.floating):
        raise InputError(f"w: dtype {w.dtype}: must be real numbers of a floating type")


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def _encoded(
    w: jax.Array, modes_in: tuple[int, ...], modes_out: tuple[int, ...], ranks: tuple[int, ...]
) -> tuple[jax.Array, ...]:
    cores = train_of(wide(w), modes_in, modes_out, lambda k, s: min(ranks[k], s.shape[0]), jnp)
    return tuple(core.astype(w.dtype) for core in cores)


@_encoded.defjvp
def _no_gradient(*_: Any) -> Any:
    raise InputError(
        "codec: cores that are computed from a kernel inside the model have no useful derivative; train the cores "
        "themselves: codecs.compress(model, variables, x, codec) makes them the model's parameters"
    )
