"""What every example shares: ``--fast`` for a smoke run, ``--out`` for where the figure goes, and the digits."""

import argparse
from pathlib import Path
from typing import Any

from analogsim import report, sweeps
from analogsim.base import files
from analogsim.cli.quickstart import load_digits as load_digits


def arguments(description: str | None) -> argparse.Namespace:
    """The example's command line; ``out`` exists afterwards."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="smoke run, whose numbers mean nothing")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the figure")
    options = parser.parse_args()
    options.out = files.output_folder(options.out)
    return options


def load_results(options: argparse.Namespace, name: str) -> Any:
    """Results of an earlier whole run in the folder, so that a figure can be drawn again; None without."""
    path = options.out / f"{name}.nc"
    return sweeps.load_results(path) if path.is_file() and not options.fast else None


def save(axes: Any, path: Path) -> None:
    """Write the figure and say where."""
    print(f"wrote {files.write(path, report.png(axes))}")
