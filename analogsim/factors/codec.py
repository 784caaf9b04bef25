"""Codecs: how the numbers of a matrix are represented before anything stores them.

``TensorTrain`` and ``LowRank`` turn a matrix ``[n_in, n_out]`` (y = x W) into cores, to one of four targets:

    rel_error     ||W - W'||_F / ||W||_F at most this; ranks follow from the numbers
    rank          every rank at most this
    max_params    a small error by ranks of at most so many numbers
    max_fraction     the same, as a share of n_in n_out

Ranks for a budget come from the singular values of each cut of the matrix: the least eps is sought for which ranks that
lose eps ||W||_F / sqrt(d - 1) at a cut fit the budget, by bisection; what is left of it then raises single ranks, one
after another, each time the one that saves the most squared error for a number. With one cut (low rank, two cores) no
ranks in the budget have a smaller error; with more the search is a greedy one, and other ranks may do a little better.

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

from analogsim.base.checks import check_integer
from analogsim.base.description import Description, static
from analogsim.base.errors import InputError, brief, within
from analogsim.base.literature import Source
from analogsim.factors.layout import MOST_CORES, CoreLayout, balanced_modes
from analogsim.factors.record import Compression
from analogsim.factors.trains import check_error, initial, interleaved, kept, rounding_noise, train_of


class CodecDoesNotFit(InputError):
    """A codec that cannot hold a matrix of this size: its modes are of another, or its budget is below rank 1."""


_TARGETS = ("rel_error", "rank", "max_params", "max_fraction")


class Codec(Description):
    """What codecs have in common: a target, and modes for a matrix."""

    rel_error: Any = static(default=None, doc="largest relative error, Frobenius norm")
    rank: Any = static(default=None, doc="largest rank")
    max_params: Any = static(default=None, doc="most numbers that a matrix may take")
    max_fraction: Any = static(default=None, doc="the same as a share of the matrix's own")

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
        """Digits of the inputs and outputs of a matrix of this size."""
        raise NotImplementedError

    def layout(self, n_in: int, n_out: int) -> CoreLayout:
        """Modes and ranks by the size alone, as for a matrix that is trained from scratch.

        Of a budget, all cuts get the largest rank that fits for all of them, or what the modes allow.

        Raises:
          InputError: for a target of ``rel_error``, whose ranks follow from the numbers of a matrix.
        """
        if self.rel_error is not None:
            raise InputError(
                f"{type(self).__name__}(rel_error={self.rel_error}): ranks follow from the numbers of a matrix, and "
                f"here only its size is known; give rank, max_params or max_share"
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
        """A matrix as cores.

        Args:
          w: ``[n_in, n_out]``, real; no traced array, since ranks follow from the numbers (within ``jax.jit`` use
            ``encode``).

        Returns:
          Cores ``[r_(k-1), m_k, n_k, r_k]`` of the matrix's type, and the record of what was reached. Ranks are found
          in double precision; rounding of the cores to their type comes on top of ``rel_error`` and is in the record.

        Raises:
          InputError: where the matrix is none, holds NaN or infinity, has a size that given modes do not multiply to,
            or takes more numbers at rank 1 than the budget allows.
        """
        _check_matrix(w)
        if isinstance(w, jax.core.Tracer):
            raise InputError(
                f"{type(self).__name__}.compress: w is traced; ranks need its numbers: use encode with rank"
            )
        known = np.asarray(w, np.float64)
        if not np.all(np.isfinite(known)):
            raise InputError("w: holds NaN or infinity; only finite numbers can be compressed")
        dtype = jnp.result_type(w)
        modes_in, modes_out = self.modes(*known.shape)
        cores = [
            np.asarray(c) for c in train_of(known, modes_in, modes_out, self._choose(known, modes_in, modes_out, dtype))
        ]
        factors = tuple(jnp.asarray(core, dtype) for core in cores)
        return factors, Compression.of(known, factors)

    def encode(self, w: jax.Array) -> tuple[jax.Array, ...]:
        """The same under ``jax.jit``, with ranks by the size alone: those of ``layout``, or what the matrix allows.

        There is no derivative: that of singular vectors is unbounded where singular values meet. Asking for one is
        refused with the way out.
        """
        _check_matrix(w)
        if self.rel_error is not None:
            raise InputError(
                f"{type(self).__name__}.encode: shapes must be known before the numbers are, so give rank, max_params "
                f"or max_share; for rel_error compress beforehand (codec.compress, or codecs.compress for a model)"
            )
        layout = self.layout(*w.shape)
        return _encoded(w, layout.modes_in, layout.modes_out, layout.ranks)

    def initial(self, key: jax.Array, n_in: int, n_out: int, variance: float | None = None, dtype: Any = jnp.float32):
        """Random cores for training from scratch; see ``codecs.initial``."""
        return initial(key, self.layout(n_in, n_out), variance, dtype)

    def _budget(self, layout: CoreLayout) -> int:
        budget = self.max_params if self.max_params is not None else math.floor(self.max_fraction * layout.dense)
        least = layout.with_rank(1).params
        if budget < least:
            raise CodecDoesNotFit(
                f"{type(self).__name__}: a budget of {budget} numbers for a {layout.n_in} x {layout.n_out} matrix: at "
                f"rank 1 its cores ({layout.with_rank(1)}) take {least} already"
            )
        return budget

    def _choose(self, w: np.ndarray, modes_in: tuple[int, ...], modes_out: tuple[int, ...], dtype: Any) -> Any:
        """How many singular values each cut keeps."""
        noise = rounding_noise(dtype if self.rel_error is None else np.float64, max(w.shape))
        if self.rank is not None:
            return lambda k, s: kept(s, 0.0, self.rank, noise)
        size, cuts = float(np.linalg.norm(w)), max(len(modes_in) - 1, 1)
        if self.rel_error is not None:
            return lambda k, s: kept(s, self.rel_error * size / math.sqrt(cuts), noise=noise)
        ranks = self._ranks_in_budget(w, modes_in, modes_out, noise)
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
            ranks = [kept(s, eps * size / math.sqrt(cuts), noise=noise) for s in spectra]
            return CoreLayout(modes_in, modes_out, tuple(ranks))

        if at(0.0).params <= budget:
            return at(0.0).ranks
        low, high = 0.0, math.sqrt(cuts)  # at the upper end each cut may lose everything, and keeps one
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if at(middle).params <= budget else (middle, high)
        return _raised(at(high), spectra, at(0.0).ranks, budget).ranks


class TensorTrain(Codec):
    """A matrix as a tensor train (matrix product operator); see ``analogsim.factors.layout``.

    Without modes, each dimension is split into ``cores`` factors as equal as can be. A dimension that does not split,
    a prime one, is one mode with ones beside it.

    Raises:
      InputError: for no target or several, a rank below 1, modes of unequal number.

    Example:
      >>> import jax
      >>> w = jax.random.normal(jax.random.key(0), (64, 64)) / 8
      >>> factors, record = TensorTrain(cores=3, max_fraction=0.25).compress(w)
      >>> record.layout.modes_in, record.params <= 1024
      ((4, 4, 4), True)
    """

    cores: Any = static(
        default=3, doc="number of cores, from 2 to 8; that of the modes where they are given",
        source=Source(note="assumed: three digits of some eight each for the layers of usual networks"),
    )  # fmt: skip
    modes_in: Any = static(default=None, doc="digits of the inputs, (8, 8); None for balanced ones")
    modes_out: Any = static(default=None, doc="digits of the outputs")

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
                    f"one of each for a core"
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
    """A matrix as a product A B by its singular value decomposition, the best there is at a rank (Eckart and Young).

    Its two cores are ``[1, n_in, 1, r]`` and ``[r, 1, n_out, 1]``: A and B with axes of one, so that whatever takes
    cores takes these. It is the honest comparison for every train, and on matrices without structure it often wins.

    Example:
      >>> import jax
      >>> (a, b), record = LowRank(rank=2).compress(jax.random.normal(jax.random.key(0), (6, 5)))
      >>> a.shape, b.shape, record.params
      ((1, 6, 1, 2), (2, 1, 5, 1), 22)
    """

    def modes(self, n_in: int, n_out: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return (n_in, 1), (1, n_out)


def _raised(layout: CoreLayout, spectra: list[np.ndarray], most: tuple[int, ...], budget: int) -> CoreLayout:
    """Single ranks raised while the budget allows, each time by the most squared error for a number."""
    while True:
        best: tuple[float, CoreLayout] | None = None
        for k, rank in enumerate(layout.ranks):
            if rank >= most[k]:
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
    wide = w.astype(jnp.promote_types(w.dtype, jnp.float32))
    cores = train_of(wide, modes_in, modes_out, lambda k, s: min(ranks[k], s.shape[0]), jnp)
    return tuple(core.astype(w.dtype) for core in cores)


@_encoded.defjvp
def _no_gradient(*_: Any) -> Any:
    raise InputError(
        "codec: cores that are computed from a kernel inside the model have no useful derivative; train the cores "
        "themselves: codecs.compress(model, variables, x, codec) makes them the model's parameters"
    )
