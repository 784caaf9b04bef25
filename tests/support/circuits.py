"""Crossbars with resistive lines by nodal analysis: a second implementation that shares nothing with the solver's.

Every node has a name, every resistor is listed, nodes joined by zero resistance are one node, and Kirchhoff's current
law is solved by a general factorisation.
"""

import functools

import jax
import numpy as np
from scipy import sparse
from scipy.sparse import linalg

from analogsim.devices import Wires


def lines(word: float, bit: float, source: float | None = None, terminal: float | None = None) -> Wires:
    """Resistances in ohm, the ends written out, so that tests share a compilation."""
    source, terminal = word if source is None else source, bit if terminal is None else terminal
    return Wires(word_line_ohm=word, bit_line_ohm=bit, source_ohm=source, terminal_ohm=terminal)


#: Every kind of line: different, perfect in one direction or both, with resistance at the ends only or beside them.
KINDS = {
    "equal": lines(2.93, 2.93),
    "different": lines(20.0, 0.5),
    "perfect words": lines(0.0, 7.0),
    "perfect bits": lines(7.0, 0.0),
    "perfect": lines(0.0, 0.0),
    "ends only": lines(0.0, 0.0, 50.0, 30.0),
    "no ends": lines(3.0, 4.0, 0.0, 0.0),
    "severe": lines(3000.0, 1000.0, 20.0, 9.0),
}
EQUAL = KINDS["equal"]


def random_array(n_in: int, n_out: int, seed: int = 0) -> np.ndarray:
    """Cells between 1 and 100 uS."""
    return np.random.default_rng(seed).uniform(1e-6, 1e-4, (n_in, n_out))


def random_voltages(batch: int, n_in: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.2, 0.2, (batch, n_in))


class Circuit:
    """The lines of an array as resistors between named nodes, with the potentials of its terminals."""

    def __init__(self, wires: Wires, shape: tuple[int, int], sources, grounds=None):
        m, n = self.shape = shape
        self.joined = {}  # node -> the node it is joined to
        segments = []

        def connect(a, b, ohm):
            if ohm == 0:
                self.joined[self.root(b)] = self.root(a)
            else:
                segments.append((a, b, 1 / ohm))

        def first(ohm, other):
            return other if ohm is None else ohm

        columns = range(n) if wires.driven_from == "left" else range(n - 1, -1, -1)
        rows = range(m - 1, -1, -1) if wires.read_at == "bottom" else range(m)
        for i in range(m):
            here, ohm = ("source", i), first(wires.source_ohm, wires.word_line_ohm)
            for j in columns:
                connect(here, ("w", i, j), ohm)
                here, ohm = ("w", i, j), wires.word_line_ohm
        for j in range(n):
            here, ohm = ("ground", j), first(wires.terminal_ohm, wires.bit_line_ohm)
            for i in rows:
                connect(here, ("b", i, j), ohm)
                here, ohm = ("b", i, j), wires.bit_line_ohm

        self.known = {self.root(("source", i)): v for i, v in enumerate(sources)}
        self.known |= {self.root(("ground", j)): v for j, v in enumerate(np.zeros(n) if grounds is None else grounds)}
        nodes = {self.root((line, i, j)) for line in "wb" for i in range(m) for j in range(n)}
        self.index = {node: k for k, node in enumerate(sorted(nodes - self.known.keys()))}
        self.segments = [(self.root(a), self.root(b), s) for a, b, s in segments]
        self.cells = [(self.root(("w", i, j)), self.root(("b", i, j))) for i in range(m) for j in range(n)]

    def root(self, node):
        while node in self.joined:
            node = self.joined[node]
        return node

    def equations(self, resistors):
        """Matrix of the unknown potentials, and the currents that known potentials drive into their nodes."""
        entries, right = [], np.zeros(len(self.index))
        for a, b, siemens in resistors:
            for here, there in ((a, b), (b, a)):
                if here not in self.index:
                    continue
                entries.append((self.index[here], self.index[here], siemens))
                if there in self.index:
                    entries.append((self.index[here], self.index[there], -siemens))
                else:
                    right[self.index[here]] += siemens * self.known[there]
        rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
        return sparse.csc_matrix((values, (rows, columns)), (len(right), len(right))), right

    def potentials(self, unknown):
        """Of the word and bit lines at every cell, [n_in, n_out], from those of the unknown nodes."""

        def at(node):
            return unknown[self.index[node]] if node in self.index else self.known[node]

        ends = np.array([[at(w), at(b)] for w, b in self.cells]).reshape(*self.shape, 2)
        return ends[..., 0], ends[..., 1]


def nodal(wires: Wires, g: np.ndarray, sources, grounds=None):
    """Word and bit voltages [n_in, n_out] and the cells' currents, whose sum over a column is that column's output.

    ``sources`` [n_in] and ``grounds`` [n_out] are the terminals' voltages.
    """
    circuit = Circuit(wires, g.shape, sources, grounds)
    resistors = [(w, b, siemens) for (w, b), siemens in zip(circuit.cells, g.ravel(), strict=True)]
    matrix, right = circuit.equations(circuit.segments + resistors)
    word, bit = circuit.potentials(linalg.spsolve(matrix, right) if len(right) else right)
    return word, bit, g * (word - bit)


def nodal_newton(wires: Wires, g: np.ndarray, sources, current, gradient):
    """The same for cells that conduct ``current(g, u)`` with dI/du = ``gradient(g, u)``, by a dense Newton's method."""
    circuit = Circuit(wires, g.shape, sources)
    lines, right = circuit.equations(circuit.segments)
    lines = lines.toarray()
    x = np.zeros(len(right))
    for _ in range(200):
        word, bit = circuit.potentials(x)
        u = word - bit
        residual, jacobian = lines @ x - right, lines.copy()
        for (w, b), c, d in zip(circuit.cells, current(g, u).ravel(), gradient(g, u).ravel(), strict=True):
            for here, there, sign in ((w, b, 1), (b, w, -1)):
                if here in circuit.index:
                    row = circuit.index[here]
                    residual[row] += sign * c
                    jacobian[row, row] += d
                    if there in circuit.index:
                        jacobian[row, circuit.index[there]] -= d
        if not len(right):
            break
        step = np.linalg.solve(jacobian, -residual)
        x += step * min(1.0, 0.2 / np.max(np.abs(step)))  # no node moves by more than 0.2 V at once
        if np.max(np.abs(step)) < 1e-14:
            break
    else:
        raise AssertionError("the reference did not converge")
    word, bit = circuit.potentials(x)
    return word, bit, current(g, word - bit)


def wide(function):
    """Run a test in float64."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        with jax.enable_x64(True):
            return function(*args, **kwargs)

    return run


def close(ours, expected, share):
    """Within ``share`` of the largest expected value."""
    np.testing.assert_allclose(ours, expected, rtol=0, atol=share * np.max(np.abs(expected)))
