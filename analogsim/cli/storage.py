"""``analogsim storage``: stores compared as memories, with a bar while they are measured."""

import json
from typing import Any

from analogsim import storage as comparison


def run(weights: int, time: str, bits: float, stores: str | None, key: int, as_json: bool) -> None:
    """Print the comparison; arguments as of ``storage``, with names of presets and commas between."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    names = None if stores is None else [name.strip() for name in stores.split(",")]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("measuring stores", total=None)

        def told(done: int, total: int) -> Any:
            bar.update(task, completed=done, total=total)

        found = comparison.storage(weights, time=time, bits=bits, stores=names, key=key, progress=told)
    print(json.dumps(found.to_dict(), indent=2) if as_json else found)
