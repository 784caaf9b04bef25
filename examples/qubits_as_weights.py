"""A digits network whose weights are amplitudes of qubits: accuracy against shots and storage time, and what it costs.

    python examples/qubits_as_weights.py

A 64-64-10 network, trained digitally, has its weights in registers that are prepared, stored and read anew for every
product: by default all weights, eight inputs a register with a qubit for the signs, qubits at their best. Beside it:
the last layer alone; signs kept classically; 64 inputs a register; qubits as they usually are; and the network trained
on for weights that are stored for 10 us. Every image has reads of its own; bands hold the middle 90 % of runs. "One
read" in the table is one sampled read-out (multinomial counts) of all weights that serves all images: its cost is
shared, but then the weights lie in a digital memory while they are used.

What it finds: of 98.0 %, 256 shots leave 97.3 and 100,000 leave 97.8, whether every image or all of them have a read.
Within a point of digital are 64 shots (2 J an inference) for the last layer alone, 256 (50 J) with signs kept
classically, 256 (120 J), 1,024 for ordinary qubits (460 J), 4,096 with 64 inputs a register (2.8 kJ); digital 8-bit
weights take 16 nJ. Nearly all of it is the refrigerator's. No number of shots lifts what damping does: stored for 10 us
the weights give 87 %, for 30 us 48 %; with signs kept classically 96 and 92 %, since a sign bit that falls turns a
weight round. Training for 10 us gives 96 % then, and 95.5 % at once. Two to three minutes on two cores.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import xarray
from _shared import arguments, load_digits, save

from analogsim import ChipScores, convert, energy, evaluate, plot, preset, sweep
from analogsim.base import show, show_time
from analogsim.base.tables import as_count, as_text, simple_table
from analogsim.cli.quickstart import FAST, MLP, Settings, train
from analogsim.devices import AmplitudeRegister
from analogsim.storage import storage
from analogsim.training import fine_tune

HARDWARE = preset("quantum-register")  # 8 inputs a register and a qubit for their signs
SHOTS = (64, 256, 1024, 4096, 16_384, 100_000, 1_000_000)
TIMES = (0.0, 3e-7, 1e-6, 3e-6, 1e-5, 3e-5, 1e-4)
TYPICAL, TRAINED_S = 100_000, 1e-5  # shots while times vary; the time that is trained for
FIRST, TRAINED = "8 inputs a register", "8 inputs, trained for 10 µs"
LINES = {
    FIRST: HARDWARE,
    "last layer alone": [("Dense_1", HARDWARE), (".*", None)],
    "signs kept classically": HARDWARE.replace(**{"store.signs": "known"}),
    "64 inputs a register": HARDWARE.replace(rows=64, columns=64, **{"store.rows": 64}),
    "ordinary qubits": HARDWARE.replace(**{"store.register": AmplitudeRegister()}),
    TRAINED: HARDWARE,
}


def one_read(params, x, labels):
    """What a sweep may measure as well: accuracy with one sampled read-out of all weights, which serves all images."""

    def held(hardware, kernel, key):
        store, blocks = hardware.store, kernel.reshape(-1, hardware.rows, kernel.shape[1])
        keys = jax.random.split(key, len(blocks))
        read = jax.vmap(lambda block, own: store.read(store.program(None, block), 0.0, own).mean)(blocks, keys)
        return read.reshape(kernel.shape)

    def score(hardware, key):
        first, last = jax.random.split(key)
        hidden = x @ held(hardware, params["Dense_0"]["kernel"], first) + params["Dense_0"]["bias"]
        outputs = nn.relu(hidden) @ held(hardware, params["Dense_1"]["kernel"], last) + params["Dense_1"]["bias"]
        return jnp.mean(jnp.argmax(outputs, -1) == labels)

    return score


def tuned(variables, x, labels):
    """The network's variables after five epochs on weights that are read so late."""
    late = convert(MLP(None), HARDWARE.replace(**{"training.time_s": TRAINED_S}))
    return fine_tune(late, variables, x, labels, key=jax.random.key(2)).variables


def breakdown(rules, variables, x, shots=None):
    """Joules and seconds of one inference, with so many shots."""
    if shots is not None and isinstance(rules, list):
        rules = [(path, own and own.replace(**{"store.shots": shots})) for path, own in rules]
    elif shots is not None:
        rules = rules.replace(**{"store.shots": shots})
    return energy.compare(convert(MLP(None), rules), variables, x, systems=("H100:int8",), batch=1)


def measured(networks, x, labels, fast):
    """Scores over (hardware, shots, time, chip), a line of the figure after the other."""
    names = ("64 inputs a register",) if fast else LINES
    over = {"store.shots": (64, TYPICAL) if fast else SHOTS, "time": (0.0, TRAINED_S) if fast else TIMES}
    found = []
    for name in names:
        asked = ChipScores(MLP(None), networks[name == TRAINED], x, labels)
        found.append(sweep(asked, LINES[name], over=over, chips=3 if fast else 20, key=jax.random.key(3)))
        print(f"measured: {name}", flush=True)
    scores = xarray.concat([data.score for data in found], xarray.IndexVariable("hardware", list(names)))
    return xarray.Dataset({"score": scores, "digital": found[0].digital})


def costs_table(data, shared, variables, x):
    """A row for every number of shots: accuracy, joules and seconds of one inference, copies beside Holevo's bound."""
    name = data.hardware.values[0]
    table, hardware = simple_table(f"{name}, read at once"), LINES[name]
    for title in ("shots", "accuracy (%)", "one read (%)", "an inference", "time", "of int8's", "of Holevo's copies"):
        table.add_column(title, justify="right")
    int8 = breakdown(preset("int8"), variables, x).hardware.energy_typical_j
    least = hardware.store.report(hardware.rows, bits=8).copies_for_full_readout
    for shots in data["store.shots"].values.astype(int):
        own = data.score.sel({"hardware": name, "store.shots": shots, "time": 0.0})
        one = shared.sel({"store.shots": shots})
        found = breakdown(hardware, variables, x, int(shots)).hardware
        scores = [f"{100 * s.mean().item():.2f} ± {100 * s.std().item():.2f}" for s in (own, one)]
        price = [show(found.energy_typical_j, "J", 2), show(found.latency_s, "s", 2)]
        table.add_row(
            f"{shots:,}", *scores, *price, f"{found.energy_typical_j / int8:.0e} x", f"{shots / least:,.0f} x"
        )
    return table


def conclude(data, networks, x):
    """In words: the shots and the time at which each line is within a point of the digital network, and the price."""
    digital = data.digital.item()
    means = data.score.mean("chip")
    int8 = breakdown(preset("int8"), networks[0], x)
    own, gpu = (show(found.energy_typical_j, "J", 2) for found in int8.breakdowns)
    print(f"int8: {own} an inference; on an H100 {gpu}")
    for name in data.hardware.values:
        at_once = means.sel({"hardware": name, "time": 0.0})
        enough = [int(s) for s in data["store.shots"].values if at_once.sel({"store.shots": s}) >= digital - 0.01]
        late = means.sel({"hardware": name, "store.shots": TYPICAL})
        kept = [float(t) for t in data.time.values if late.sel(time=t) >= digital - 0.01]
        words = f"never ({100 * at_once.max().item():.1f} % at best)"
        if enough:
            found = breakdown(LINES[name], networks[name == TRAINED], x, enough[0]).hardware
            dearer = found.energy_typical_j / int8.hardware.energy_typical_j
            words = f"from {enough[0]:,} shots on, {show(found.energy_typical_j, 'J', 2)} ({dearer:.0e} times int8's)"
            words += f" and {show(found.latency_s, 's', 2)}"
        last = f"up to {show_time(max(kept))}" if kept else "at no time"
        then = f"{100 * late.sel(time=TRAINED_S).item():.1f} % after {show_time(TRAINED_S)}"
        print(f"{name}: within a point of digital {words}; stored, {last}; {then}")


def draw(data, variables, x):
    """Accuracy over shots, with joules above, and over storage time."""
    first = plot.new_axes(11.0, 5.0)
    figure = first.figure
    first.remove()
    with plot.style():
        shots, times = figure.subplots(1, 2)
    plot.sweep(data.sel(time=0.0, drop=True), "store.shots", ax=shots, percent=True)
    plot.sweep(data.sel({"store.shots": TYPICAL}, drop=True), "time", ax=times, percent=True)
    entries = shots.get_legend().legend_handles
    for entry in entries:
        entry.set_label(entry.get_label().replace("chips", "runs"))  # nothing is fabricated: they differ in their reads
    for ax in (shots, times):
        ax.get_legend().remove()
        ax.tick_params(axis="x", rotation=0)
        for label in ax.get_xticklabels():
            label.set(rotation=0, ha="center")
    figure.legend(handles=entries, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    shots.set_xticks(data["store.shots"].values, [f"{s:,}" for s in data["store.shots"].values], fontsize=8)
    shots.minorticks_off()
    name = data.hardware.values[0]
    joules = breakdown(LINES[name], variables, x, TYPICAL).hardware.energy_typical_j / TYPICAL
    top = shots.secondary_xaxis("top", functions=(lambda s: joules * s, lambda e: e / joules))
    top.set_xlabel(f"energy of one inference, {name}", fontsize=10)
    top.xaxis.set_major_formatter(lambda value, _: show(value, "J"))
    shots.set(xlabel="shots a read, at once", ylabel="accuracy on digits (%)")
    times.set(xlabel=f"time that weights are stored, then {TYPICAL:,} shots", ylabel="")
    return shots


def main() -> None:
    options = arguments(__doc__)
    x, y, x_test, y_test = load_digits()
    n = 100 if options.fast else len(y_test)
    params = train(MLP(None), FAST if options.fast else Settings(), x, y, jax.random.key(0))
    plain = {"params": params}
    networks = (plain, plain if options.fast else tuned(plain, x, y))

    data = measured(networks, x_test[:n], y_test[:n], options.fast)
    digits = evaluate(convert(MLP(None), preset("int8")), plain, x_test[:n], y_test[:n], key=jax.random.key(4),
                      chips=1, times=("0 s",)).score.item()  # fmt: skip
    print(f"digital: {100 * data.digital.item():.2f} %, with 8 bits {100 * digits:.2f} %")
    first, shots = LINES[data.hardware.values[0]], data["store.shots"].values
    sampled = sweep(one_read(params, x_test[:n], y_test[:n]), first, over={"store.shots": shots}, key=jax.random.key(5),
                    chips=10 if options.fast else 100).score  # fmt: skip
    print(as_text(costs_table(data, sampled, plain, x_test)))
    conclude(data, networks, x_test)
    weights = sum(p.size for p in jax.tree.leaves(params) if p.ndim == 2)
    print(f"\nAs a memory, analogsim.storage.storage({weights}, time='1 us'):")
    print(storage(weights, time="1 us", stores=["int8"] if options.fast else ["int8", "pcm", HARDWARE]))
    wait = TYPICAL * TRAINED_S
    print(f"Each of {as_count(TYPICAL)} copies that is stored for {show_time(TRAINED_S)} waits as long: one after "
          f"another, {show(wait, 's')} a layer, which the bill does not count.")  # fmt: skip
    save(draw(data, plain, x_test), options.out / "qubits_as_weights.png")


if __name__ == "__main__":
    main()
