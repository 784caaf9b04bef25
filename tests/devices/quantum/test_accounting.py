"""Information bounds: ensembles with closed forms, limits of capacities, and an energy breakdown worked by hand."""

import jax
import numpy as np
import pytest

from analogsim import InputError
from analogsim.devices.quantum import accounting
from tests.devices.quantum.by_hand import random_density, random_state

holevo = jax.jit(accounting.holevo_bits)
z_channel = jax.jit(accounting.z_channel_bits)


def test_holevo_of_known_ensembles():
    basis = np.stack([np.diag(row) for row in np.eye(8, dtype=np.float32)])
    assert float(holevo(np.full(8, 1 / 8, np.float32), basis)) == pytest.approx(3, abs=1e-5)
    assert float(holevo(np.ones(1, np.float32), basis[:1])) == pytest.approx(0, abs=1e-6)
    # Two pure states with overlap c: chi is the entropy of (1 +- c)/2.
    for c in (0.0, 0.3, 0.9):
        second = np.array([c, np.sqrt(1 - c**2)])
        states = np.float32([np.diag([1.0, 0.0]), np.outer(second, second)])
        shares = np.array([(1 + c) / 2, (1 - c) / 2])
        expected = -(shares * np.log2(np.maximum(shares, 1e-30))).sum()
        assert float(holevo(np.float32([0.5, 0.5]), states)) == pytest.approx(expected, abs=1e-5)


def test_no_ensemble_gives_more_than_its_qubits():
    rng = np.random.default_rng(0)
    for n in (1, 2, 3):
        pure = np.stack([np.outer(s, s.conj()) for s in (random_state(n, seed) for seed in range(40))])
        mixed = np.stack([random_density(n, seed) for seed in range(40)])
        p = rng.dirichlet(np.ones(40)).astype(np.float32)
        chi_pure, chi_mixed = (float(holevo(p, s.astype(np.complex64))) for s in (pure, mixed))
        assert 0 < chi_mixed < chi_pure <= n + 1e-5


def test_entropies():
    assert float(accounting.entropy_bits(np.full(16, 1 / 16))) == pytest.approx(4)
    assert float(jax.jit(accounting.von_neumann_bits)(np.eye(4) / 4)) == pytest.approx(2, abs=1e-6)
    assert np.all(np.isfinite(jax.jit(jax.grad(accounting.entropy_bits))(np.float32([1.0, 0.0]))))


def test_copies():
    assert accounting.copies_for_full_readout(1024, 8, 10) == 819.2
    for wrong in ((0, 8, 10), (4, 0, 10), (4, 8, 0)):
        with pytest.raises(InputError, match="must each be greater than 0"):
            accounting.copies_for_full_readout(*wrong)


def test_z_channel():
    exact = {0.0: 1.0, 1.0: 0.0, 0.5: np.log2(1.25)}
    for g, bits in exact.items():
        assert float(z_channel(g)) == pytest.approx(bits, abs=1e-6)
    # By search over how often a 1 is sent.
    q = np.linspace(1e-6, 1 - 1e-6, 200_001)
    for g in (0.01, 0.3, 0.9):
        ones = q * (1 - g)

        def h(p):
            return -p * np.log2(p) - (1 - p) * np.log2(1 - p)

        assert float(z_channel(g)) == pytest.approx((h(ones) - q * h(g)).max(), abs=1e-5)
    assert np.all(np.diff(np.asarray(jax.jit(accounting.z_channel_bits)(np.linspace(0, 1, 101)))) < 0)
    assert np.all(np.isfinite(jax.jit(jax.vmap(jax.grad(accounting.z_channel_bits)))(np.float32([0.0, 0.5, 1.0]))))


def test_cold():
    assert accounting.landauer_j(0.02) == pytest.approx(1.380649e-23 * 0.02 * np.log(2))
    assert f"{accounting.landauer_j(0.02):.1e}" == "1.9e-25"
    assert accounting.carnot_factor(0.02) == pytest.approx(14_999)
    # With the ideal refrigerator the floor is that of room temperature, nearly.
    assert accounting.landauer_j(0.02) * accounting.carnot_factor(0.02) == pytest.approx(
        accounting.landauer_j(300.0 - 0.02)
    )
    with pytest.raises(InputError, match=r"cold_k = 0: must be greater than 0 and at most 300.0 \(unit: K\)"):
        accounting.carnot_factor(0)


def test_a_vector_of_1024_numbers_costs_64_megajoules():
    assert accounting.wall_plug_j(2.56e6, 0.0, 1e-3) == pytest.approx(64e6)
    assert accounting.wall_plug_j(2.56e6, 0.999e-3, 1e-6, fraction=10 / 1000) == pytest.approx(0.64e6)


def test_qram():
    assert accounting.qram_infidelity(1024, 1e-4) == pytest.approx(0.01)
    assert accounting.qram_infidelity(1024, 1e-4, "fan-out") == pytest.approx(1.024)
    with pytest.raises(InputError, match="'bucket brigade' or 'fan-out'"):
        accounting.qram_infidelity(4, 0.1, "bus")


def test_wrong_shapes_are_refused():
    with pytest.raises(InputError, match=r"must be \[K, d, d\] and \[K\]"):
        accounting.holevo_bits(np.ones(3) / 3, np.ones((2, 2, 2)))
