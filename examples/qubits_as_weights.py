"""Store the weights of a digits network in amplitudes of qubits: accuracy versus shots and storage time, and energy.

    python examples/qubits_as_weights.py

The weights of a digitally trained 64-64-10 network are stored in registers that are prepared, stored and read again for
every product. By default all weights are stored, with eight inputs and a sign qubit per register, on the best qubits.
Variants: the last layer only; signs kept classically; 64 inputs per register; ordinary qubits; and the network
fine-tuned for weights stored for 10 us. Each image has its own reads; bands hold the middle 90 % of runs. "One read" in
the table is one sampled read-out (multinomial counts) of all weights that serves all images: its cost is amortised, but
a digital memory then holds the weights while they are used.

Results: of 98.0 %, 256 shots leave 97.3 and 100,000 leave 97.8, with one read per image or one for all. To stay within
a point of the digital network takes 64 shots (2 J per inference) for the last layer only, 256 (50 J) with signs kept
classically, 256 (120 J) by default, 1,024 on ordinary qubits (460 J), 4,096 with 64 inputs per register (2.8 kJ);
digital 8-bit weights take 16 nJ. Nearly all of the energy goes to the refrigerator. More shots do not undo damping:
weights stored for 10 us give 87 %, for 30 us 48 %; with signs kept classically 96 and 92 %, since a decayed sign qubit
inverts a weight. Fine-tuning for 10 us gives 96 % after that time, and 95.5 % without storage. Two to three minutes on
two cores.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import xarray
from _shared import arguments, load_digits, save
from matplotlib.axes import Axes

from analogsim import ChipScores, convert, energy, evaluate, plot, preset, sweep
from analogsim.base import show, show_time
from analogsim.base.tables import as_count, as_text, simple_table
from analogsim.cli.quickstart import FAST, MLP, Settings, train
from analogsim.devices import AmplitudeRegister
from analogsim.storage import storage
from analogsim.training import fine_tune

HARDWARE = preset("quantum-register")  # 8 inputs and a qubit for their signs per register
SHOTS = (64, 256, 1024, 4096, 16_384, 100_000, 1_000_000)
TIMES = (0.0, 3e-7, 1e-6, 3e-6, 1e-5, 3e-5, 1e-4)
TYPICAL, TRAINED_S = 100_000, 1e-5  # shots while the storage time varies; storage time of the fine-tuned network
TRAINED = "8 inputs, trained for 10 µs"
CASES = {
    "8 inputs per register": HARDWARE,
    "last layer only": [("Dense_1", HARDWARE), (".*", None)],
    "signs kept classically": HARDWARE.replace(**{"store.signs": "known"}),
    "64 inputs per register": HARDWARE.replace(rows=64, columns=64, **{"store.rows": 64}),
    "ordinary qubits": HARDWARE.replace(**{"store.register": AmplitudeRegister()}),
    TRAINED: HARDWARE,
}


def one_read(params, x, labels):
    """Return a function for ``sweep``: the accuracy with one sampled read-out of all weights for all images."""

    def read_out(hardware, kernel, key):
        store, blocks = hardware.store, kernel.reshape(-1, hardware.rows, kernel.shape[1])
        keys = jax.random.split(key, len(blocks))
        read = jax.vmap(lambda block, key: store.read(store.program(None, block), 0.0, key).mean)(blocks, keys)
        return read.reshape(kernel.shape)

    def score(hardware, key):
        first, last = jax.random.split(key)
        hidden = x @ read_out(hardware, params["Dense_0"]["kernel"], first) + params["Dense_0"]["bias"]
        outputs = nn.relu(hidden) @ read_out(hardware, params["Dense_1"]["kernel"], last) + params["Dense_1"]["bias"]
        return jnp.mean(jnp.argmax(outputs, -1) == labels)

    return score


def tuned(variables, x, labels):
    """Return the network's variables after fine-tuning on weights that are read after the time ``TRAINED_S``."""
    late = convert(MLP(None), HARDWARE.replace(**{"training.time_s": TRAINED_S}))
    return fine_tune(late, variables, x, labels, key=jax.random.key(2)).variables


def breakdown(rules, variables, x, shots=None):
    """Return the energy comparison at batch 1 with a given number of shots."""
    if shots is not None and isinstance(rules, list):
        rules = [(path, hardware and hardware.replace(**{"store.shots": shots})) for path, hardware in rules]
    elif shots is not None:
        rules = rules.replace(**{"store.shots": shots})
    return energy.compare(convert(MLP(None), rules), variables, x, systems=("H100:int8",), batch=1)


def measured(networks, x, labels, fast):
    """Return scores over (hardware, shots, time, chip)."""
    names = ("64 inputs per register",) if fast else CASES
    over = {"store.shots": (64, TYPICAL) if fast else SHOTS, "time": (0.0, TRAINED_S) if fast else TIMES}
    results = []
    for name in names:
        task = ChipScores(MLP(None), networks[name == TRAINED], x, labels)
        results.append(sweep(task, CASES[name], over=over, chips=3 if fast else 20, key=jax.random.key(3)))
        print(f"measured: {name}", flush=True)
    scores = xarray.concat([data.score for data in results], xarray.IndexVariable("hardware", list(names)))
    return xarray.Dataset({"score": scores, "digital": results[0].digital})


def costs_table(data, one_read_scores, variables, x):
    """Return a table per number of shots: accuracy, energy and time per inference, copies versus Holevo's bound."""
    name = data.hardware.values[0]
    table, hardware = simple_table(f"{name}, read without storage time"), CASES[name]
    titles = ("shots", "accuracy (%)", "one read (%)", "energy", "time", "energy / int8", "copies / Holevo")
    for title in titles:
        table.add_column(title, justify="right")
    int8 = breakdown(preset("int8"), variables, x).hardware.energy_typical_j
    least = hardware.store.report(hardware.rows, bits=8).copies_for_full_readout
    for shots in data["store.shots"].values.astype(int):
        per_image = data.score.sel({"hardware": name, "store.shots": shots, "time": 0.0})
        one = one_read_scores.sel({"store.shots": shots})
        used = breakdown(hardware, variables, x, int(shots)).hardware
        scores = [f"{100 * s.mean().item():.2f} ± {100 * s.std().item():.2f}" for s in (per_image, one)]
        costs = [show(used.energy_typical_j, "J", 2), show(used.latency_s, "s", 2)]
        table.add_row(f"{shots:,}", *scores, *costs, f"{used.energy_typical_j / int8:.0e}", f"{shots / least:,.0f}")
    return table


def conclude(data, networks, x):
    """Print the shots and the storage time with which each case is within a point of the digital network, and costs."""
    digital = data.digital.item()
    means = data.score.mean("chip")
    int8 = breakdown(preset("int8"), networks[0], x)
    asic, gpu = (show(item.energy_typical_j, "J", 2) for item in int8.breakdowns)
    print(f"int8: {asic} per inference; on an H100 {gpu}")
    for name in data.hardware.values:
        fresh = means.sel({"hardware": name, "time": 0.0})
        enough = [int(s) for s in data["store.shots"].values if fresh.sel({"store.shots": s}) >= digital - 0.01]
        stored = means.sel({"hardware": name, "store.shots": TYPICAL})
        times = [float(t) for t in data.time.values if stored.sel(time=t) >= digital - 0.01]
        shots = f"with no number of shots ({100 * fresh.max().item():.1f} % at best)"
        if enough:
            used = breakdown(CASES[name], networks[name == TRAINED], x, enough[0]).hardware
            ratio = used.energy_typical_j / int8.hardware.energy_typical_j
            shots = f"with {enough[0]:,} shots or more, {show(used.energy_typical_j, 'J', 2)} ({ratio:.0e} times int8)"
            shots += f" and {show(used.latency_s, 's', 2)} per inference"
        storage_time = f"up to {show_time(max(times))}" if times else "never"
        later = f"{100 * stored.sel(time=TRAINED_S).item():.1f} % after {show_time(TRAINED_S)}"
        print(f"{name}: within a point of digital {shots}; in storage {storage_time}; {later}")


def draw(data, variables, x) -> Axes:
    """Draw accuracy versus shots, with an energy axis on top, and versus storage time."""
    first = plot.new_axes(11.0, 5.0)
    figure = first.figure
    first.remove()
    with plot.style():
        shots, times = figure.subplots(1, 2)
    plot.sweep(data.sel(time=0.0, drop=True), "store.shots", ax=shots, percent=True)
    plot.sweep(data.sel({"store.shots": TYPICAL}, drop=True), "time", ax=times, percent=True)
    entries = shots.get_legend().legend_handles
    for entry in entries:
        entry.set_label(entry.get_label().replace("chips", "runs"))  # no fabrication: runs differ in their reads only
    for ax in (shots, times):
        ax.get_legend().remove()
        ax.tick_params(axis="x", rotation=0)
        for label in ax.get_xticklabels():
            label.set(rotation=0, ha="center")
    figure.legend(handles=entries, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    shots.set_xticks(data["store.shots"].values, [f"{s:,}" for s in data["store.shots"].values], fontsize=8)
    shots.minorticks_off()
    name = data.hardware.values[0]
    joules = breakdown(CASES[name], variables, x, TYPICAL).hardware.energy_typical_j / TYPICAL
    top = shots.secondary_xaxis("top", functions=(lambda s: joules * s, lambda e: e / joules))
    top.set_xlabel(f"energy per inference, {name}", fontsize=10)
    top.xaxis.set_major_formatter(lambda value, _: show(value, "J"))
    shots.set(xlabel="shots per read, no storage time", ylabel="accuracy on digits (%)")
    times.set(xlabel=f"storage time of the weights, {TYPICAL:,} shots per read", ylabel="")
    return shots


def main() -> None:
    options = arguments(__doc__)
    x, y, x_test, y_test = load_digits()
    n = 100 if options.fast else len(y_test)
    params = train(MLP(None), FAST if options.fast else Settings(), x, y, jax.random.key(0))
    plain = {"params": params}
    networks = (plain, plain if options.fast else tuned(plain, x, y))

    data = measured(networks, x_test[:n], y_test[:n], options.fast)
    int8 = convert(MLP(None), preset("int8"))
    rounded = evaluate(int8, plain, x_test[:n], y_test[:n], key=jax.random.key(4), chips=1, times=("0 s",)).score.item()
    print(f"digital: {100 * data.digital.item():.2f} %, with 8 bits {100 * rounded:.2f} %")
    first, over = CASES[data.hardware.values[0]], {"store.shots": data["store.shots"].values}
    chips = 10 if options.fast else 100
    sampled = sweep(one_read(params, x_test[:n], y_test[:n]), first, over=over, key=jax.random.key(5), chips=chips)
    print(as_text(costs_table(data, sampled.score, plain, x_test)))
    conclude(data, networks, x_test)
    weights = sum(p.size for p in jax.tree.leaves(params) if p.ndim == 2)
    print(f"\nAs a memory, analogsim.storage.storage({weights}, time='1 us'):")
    print(storage(weights, time="1 us", stores=["int8"] if options.fast else ["int8", "pcm", HARDWARE]))
    print(
        f"Storing {as_count(TYPICAL)} copies for {show_time(TRAINED_S)} each, in sequence, takes "
        f"{show(TYPICAL * TRAINED_S, 's')} per layer, which the energy breakdown does not count."
    )
    save(draw(data, plain, x_test), options.out / "qubits_as_weights.png")


if __name__ == "__main__":
    main()
