"""Benchmarks: what emulation costs beside plain Flax, and beside peers where they are installed.

    python -m tests.benchmarks                                   everything; hours on two cores
    python -m tests.benchmarks --only w1,w2 --repeats 20         some of it
    python -m tests.benchmarks --json run.json --figure cost.svg --quick
    ANALOGSIM_PEER_PYTHON=/path/to/python python -m tests.benchmarks     a Python with aihwkit-lightning and aihwkit

All programs of a comparison take turns in one process; peers run between two rounds. Values are medians. Times are
printed, not asserted: a limit on time would test the machine.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Sequence

import jax

from tests.benchmarks import lives, sizes, steps
from tests.benchmarks.results import Results, Settings, load
from tests.benchmarks.tables import figure, footer, tables, text

#: Benchmarks by name, in the order in which they run.
ITEMS = {
    "w1": (steps.w1,),
    "w2": (steps.w2,),
    "w3": (steps.w3,),
    "w4": (steps.w4,),
    "w5": (lives.w5,),
    "first": (steps.first,),
    "calibrate": (lives.calls,),
    "sweep": (lives.sweeps,),
    "readings": (lives.readings,),
    "energy": (sizes.energy,),
    "memory": (sizes.memory,),
    "depth": (sizes.depth,),
    "scaling": (lives.scaling, sizes.weights),
}


def main(arguments: Sequence[str] | None = None) -> Results:
    """Run benchmarks, print their tables, and write what is asked for.

    Args:
      arguments: of the command line.
    """
    given = _parser().parse_args(arguments)
    quick = given.quick
    repeats = given.repeats or (1 if quick else 10)
    settings = Settings(repeats, given.first_repeats or (1 if quick else 3), quick)
    results = Results()
    for name in given.only:
        results.load[name] = load()
        start = time.perf_counter()
        for benchmark in ITEMS[name]:
            benchmark(settings, results)
        if quick:  # tiny sizes meet or miss no target
            results.rows = [dataclasses.replace(row, at_most=None, at_least=None) for row in results.rows]
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        if given.json:  # after each: what was measured is kept if the next one fails
            given.json.write_text(json.dumps(results.as_dict(settings), indent=1, ensure_ascii=False) + "\n")
    _print(results)
    if given.figure and results.curves:
        figure(results, given.figure)
    return results


def _print(results: Results) -> None:
    if not sys.stdout.isatty():
        print(text(results))
        return
    import rich.console

    console = rich.console.Console(highlight=False)
    for part in (*tables(results), footer(results)):
        console.print(part)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", type=_names, default=list(ITEMS), metavar="NAMES", help=f"of {', '.join(ITEMS)}; default: all"
    )
    parser.add_argument("--repeats", type=_positive, help="timed calls of every program; default: 10, quick: 1")
    parser.add_argument("--first-repeats", type=_positive, help="first calls, each compiled anew; default: 3, quick: 1")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="keep all raw values, versions and machine")
    parser.add_argument("--figure", type=pathlib.Path, metavar="FILE", help="draw depth and scaling, log-log")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, no peers: does everything run?")
    return parser


def _names(given: str) -> list[str]:
    names = given.split(",")
    if unknown := set(names) - set(ITEMS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: must be of {', '.join(ITEMS)}")
    return names


def _positive(given: str) -> int:
    if not given.isdigit() or int(given) < 1:
        raise argparse.ArgumentTypeError(f"{given}: must be a positive integer")
    return int(given)


if __name__ == "__main__":
    jax.config.update("jax_enable_compilation_cache", False)  # a program read from a file was not compiled
    main()
