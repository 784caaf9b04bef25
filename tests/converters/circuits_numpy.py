"""The circuits a second time, in NumPy: tables of levels, one converter at a time, straight from the equations.

Spear et al. 2023, doi 10.1109/JXCDC.2023.3315134, in units of the reference voltage. Every function takes the relative
deviations of unit capacitors and the comparators' offsets, and inputs ``x`` [n]; it returns codes [n].
"""

import numpy as np


def value(code, bits):
    """What a code stands for: 2 k / 2^b - (2^b - 1)/2^b."""
    return 2 * np.asarray(code) / 2**bits - (2**bits - 1) / 2**bits


def switched(bits, signed):
    """Which capacitors each code switches, [2^bits, bits], and the sign of each code."""
    k = np.arange(2**bits)
    number = abs(k - 2 ** (bits - 1)) if signed else k
    return (number[:, None] >> np.arange(bits)) & 1, np.where(signed & (k < 2 ** (bits - 1)), -1, 1)


def plain_levels(eps, bits, signed=True, gain=np.inf):
    """Levels of the plain capacitor DAC; ``eps`` of every capacitor, then of the feedback capacitor."""
    c = np.array([2**n + eps[n] * 2 ** (n / 2) for n in range(bits)])
    m = bits - 1 if signed else bits
    feedback = 2**m + eps[bits] * 2 ** (m / 2)
    digits, sign = switched(bits, signed)
    total = digits @ c
    level = sign * total / c[-1] + 2.0**-bits if signed else 2 * total / feedback - (1 - 2.0**-bits)
    beta = feedback / (feedback + total)
    return level / (1 + 1 / (gain * beta))


def split_levels(eps, bits, signed=True, gain=np.inf):
    """Levels of the split DAC; ``eps`` of every capacitor, of the unit that ends the lower array, of the bridge."""
    h, top = bits // 2, bits - signed
    c = np.array([2 ** (n % h if n < h else n - h) * 1.0 for n in range(top)])
    c = c + eps[:top] * np.sqrt(c)
    bridge = 2**h / (2**h - 1)
    bridge += eps[bits + 1] * np.sqrt(bridge)
    low_total, high_total = 1 + eps[bits] + c[:h].sum(), c[h:].sum()
    digits, sign = switched(bits, signed)
    low, high = digits[:, :h] @ c[:h], digits[:, h:top] @ c[h:]
    level = (low * bridge + high * (low_total + bridge)) / ((low_total + bridge) * (high_total + bridge) - bridge**2)
    if signed:
        level[0] = 1  # the reference itself
        level = sign * level + 2.0**-bits
    else:
        level = 2 * level - (1 - 2.0**-bits)
    return level / (1 + 1 / gain)


def ramp(x, levels, offset):
    """The nearest level."""
    return np.argmin(abs(levels[:, None] - x - offset), axis=0)


def sar(x, levels, offset):
    """Binary search against thresholds half an LSB below the levels."""
    bits = len(levels).bit_length() - 1
    code = np.zeros(len(x), int)
    for bit in reversed(range(bits)):
        trial = code + 2**bit
        code = np.where(x + offset >= levels[trial] - 2.0**-bits, trial, code)
    return code


def pipeline(x, c1, c2, upper, lower, last, parasitic=0.0, gain=np.inf):
    """1.5 bit a stage; all arguments but ``x`` [stages], ``last`` a number. Digits are added as binary words."""
    v, code = np.array(x, np.float64), np.zeros(len(x), int)
    stages = len(c1)
    for s in range(stages):
        above, between = v >= 0.25 + upper[s], (v < 0.25 + upper[s]) & (v >= -0.25 + lower[s])
        code = code + above * 2 ** (stages - s) + between * 2 ** (stages - s - 1)
        reference = np.where(above, -1, np.where(between, 0, 1))
        g, beta = c2[s] / c1[s], c1[s] / (c1[s] + c2[s] + parasitic)
        v = ((1 + g) * v + reference * g) / (1 + 1 / (gain * beta))
    return code + (v >= last)
