"""Common parts of the examples: the options ``--fast`` (smoke run) and ``--out`` (output folder), and the digits."""

import argparse
from collections.abc import Callable
from pathlib import Path

import xarray
from matplotlib.axes import Axes

from analogsim import report, sweeps
from analogsim.base import files
from analogsim.cli.quickstart import load_digits as load_digits


def arguments(
    description: str | None, more: Callable[[argparse.ArgumentParser], None] | None = None
) -> argparse.Namespace:
    """Parse the command line, with options that ``more`` adds, and create the output folder."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="smoke run; its numbers are meaningless")
    parser.add_argument("--out", type=Path, default=Path("out"), help="output folder (default: %(default)s)")
    if more is not None:
        more(parser)
    options = parser.parse_args()
    options.out = files.output_folder(options.out)
    return options


def load_results(options: argparse.Namespace, name: str) -> xarray.Dataset | None:
    """Return the results of an earlier full run in the output folder, to redraw a figure, or None."""
    path = options.out / f"{name}.nc"
    return sweeps.load_results(path) if path.is_file() and not options.fast else None


def save(axes: Axes, path: Path) -> None:
    """Save the figure of the axes as PNG and print its path."""
    print(f"wrote {files.write(path, report.png(axes))}")
