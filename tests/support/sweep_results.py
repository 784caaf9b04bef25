"""Datasets of the form that ``analogsim.sweep`` gives, made up: nothing is simulated."""

import numpy as np
import xarray

from analogsim.base import show_time

TIMES = (1.0, 86400.0, 31557600.0, 315576000.0)
NOISE, BITS = "store.cell.read_noise", "adc.bits"


def sweep_results(over=None, chips=12, metric="accuracy", done=None, **attrs):
    """Scores between 0.5 and 1, lower along every axis, with a spread over chips.

    Args:
      over: axes and their values, as given to a sweep; times in seconds.
      chips: values of every point.
      metric: name of the scores.
      done: share of the chips' runs that are there, in the order of the axes; the others are NaN. None for all.
      attrs: attributes beside, or instead of, the usual ones.
    """
    over = {NOISE: (0.0, 0.01, 0.1, 1.0), BITS: (4, 6, 8)} if over is None else over
    rng = np.random.default_rng(3)
    shape = tuple(len(values) for values in over.values())
    falls = sum(np.indices(shape)) / max(1, sum(n - 1 for n in shape)) if shape else np.zeros(())
    scores = np.clip(0.95 - 0.3 * falls[..., None] + 0.01 * rng.normal(size=(*shape, chips)), 0.5, 1.0)
    dims = (*over, "chip")
    coords = {name: _axis(name, values) for name, values in over.items()} | {"chip": np.arange(chips)}
    if "time" in over:
        coords["time_label"] = ("time", [show_time(t) for t in over["time"]])
    about = {"long_name": "accuracy on test digits", "units": "1"}
    data = xarray.Dataset({metric: (dims, scores, about), "digital": ((), 0.97, about)}, coords)
    data.attrs = {"title": "A sweep", "evaluate": "accuracy on 450 digits", "key": "jax.random.key(7)", "complete": 1,
                  "analogsim": "0.1.0", "hardware": "Hardware\n  rows = 512   inputs of one tile",
                  "hardware_json": '{"class": "Hardware"}', "inputs": '{"x": "sha256:ab12"}',
                  "sources": "M. Le Gallo (2018)"} | attrs  # fmt: skip
    if done is not None:
        runs = [d for d in dims if d != "time"]
        there = np.zeros([data.sizes[d] for d in runs], bool)
        there.reshape(-1)[: round(done * there.size)] = True
        data["done"] = (runs, there)
        data[metric] = data[metric].where(data["done"]).transpose(*dims).assign_attrs(about)
        data.attrs["complete"] = 0
    return data


def _axis(name, values):
    about = {"units": "s" if name == "time" else "", "long_name": f"what {name} is"}
    return name, list(values), about
