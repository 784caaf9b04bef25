"""Qubit channels once more, in numpy by full matrices: what the tests of the quantum room compare with."""

import functools

import numpy as np

PAULIS = [np.array(m, complex) for m in ([[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]])]


def operators(t1, t2, p, time):
    """The three channels of one qubit as lists of 2 x 2 matrices, in their order."""
    g = 1 - np.exp(-time / t1)
    lost = 1 - np.exp(-2 * time * (1 / t2 - 1 / (2 * t1)))
    damping = [np.diag([1, np.sqrt(1 - g)]), np.array([[0, np.sqrt(g)], [0, 0]])]
    dephasing = [np.diag([1, np.sqrt(1 - lost)]), np.diag([0, np.sqrt(lost)])]
    return [damping, dephasing, [np.sqrt(1 - p) * np.eye(2)] + [np.sqrt(p / 3) * m for m in PAULIS]]


def evolved(rho, t1, t2, p, time):
    """A density matrix of n qubits, each operator written out on all of them."""
    n = rho.shape[0].bit_length() - 1
    for k in range(n):
        for channel in operators(t1, t2, p, time):
            whole = [functools.reduce(np.kron, [o if i == k else np.eye(2) for i in range(n)]) for o in channel]
            rho = sum(o @ rho @ o.conj().T for o in whole)
    return rho


def random_density(n, seed=0):
    """A density matrix of full rank."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(2**n, 2**n)) + 1j * rng.normal(size=(2**n, 2**n))
    rho = a @ a.conj().T
    return rho / np.trace(rho).real


def random_state(n, seed=0):
    """A complex vector of length 1."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=2**n) + 1j * rng.normal(size=2**n)
    return a / np.linalg.norm(a)
