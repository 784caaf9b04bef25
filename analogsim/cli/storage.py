"""``analogsim storage``: compare weight stores as memories, with a progress bar."""

import json
from typing import Any

from analogsim import storage as comparison


def run(weights: int, time: str, bits: float, stores: str | None, key: int, as_json: bool) -> None:
    """Print the comparison; takes the arguments of ``storage``, with ``stores`` as comma-separated presets."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    names = None if stores is None else [name.strip() for name in stores.split(",")]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("measuring stores", total=None)

        def told(done: int, total: int) -> Any:
            bar.update(task, completed=done, total=total)

        stores_compared = comparison.storage(weights, time=time, bits=bits, stores=names, key=key, progress=told)
    print(json.dumps(stores_compared.to_dict(), indent=2) if as_json else stores_compared)
