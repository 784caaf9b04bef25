"""Things to sweep that other processes can import, and one sweep as a program of its own, to be killed."""

import os
import sys
import time

import jax

from analogsim import ADC, Hardware, sweep
from analogsim.devices import Crossbar, ReRAM

HARDWARE = Hardware(store=Crossbar(cell=ReRAM()), rows=8, columns=8, adc=ADC(bits=8))
OVER = {"store.cell.programming_noise": [0.5, 1.0], "adc.bits": [4, 6, 8]}


def numbers(hardware, key):
    """A draw for the chip, and the numbers that are swept: everything in a result can be told."""
    draw = jax.random.uniform(key)
    noise, bits = hardware.store.cell.programming_noise, hardware.adc.bits
    return {"draw": draw, "sum": draw + 10.0 * noise + 100.0 * bits}


def aged(hardware, key, time_s):
    """The same with an age."""
    return numbers(hardware, key)["sum"] + 1000.0 * time_s


def slow(hardware, key):
    """An item that takes a moment and leaves a trace: which one it was."""
    found = {name: float(value) for name, value in numbers(hardware, key).items()}
    time.sleep(0.06)
    with open(os.environ["SWEEP_TRACE"], "a") as trace:
        trace.write(f"{found['sum']!r}\n")
    return found


def dies_once(hardware, key):
    """Kills the worker that first computes it."""
    mark = os.environ["SWEEP_MARK"]
    if not os.path.exists(mark):
        open(mark, "w").close()
        os._exit(1)
    return {name: float(value) for name, value in numbers(hardware, key).items()}


if __name__ == "__main__":
    sweep(slow, HARDWARE, over=OVER, chips=8, key=jax.random.key(3), path=sys.argv[1], compiled=False, progress=False)
