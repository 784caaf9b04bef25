"""Named noise streams, and Gaussians that must be jax's own, bit for bit."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from analogsim.base import normal, stream
from analogsim.base.random import bits


def assert_same_draws(key, draw, of_jax, shapes, dtype):
    """The same numbers for every shape; all of ours are one program, and all of jax's another."""
    ours, theirs = (jax.jit(lambda key, f=f: [f(key, shape) for shape in shapes])(key) for f in (draw, of_jax))
    for shape, a, b in zip(shapes, ours, theirs, strict=True):
        assert a.dtype == dtype
        np.testing.assert_array_equal(a, b, err_msg=f"shape {shape}")


def test_numbers_are_those_of_jax(key):
    shapes = [(), (1,), (7,), (0,), (3, 5), (2, 3, 4), (1, 1000)]
    assert_same_draws(key, normal, jax.random.normal, shapes, jnp.float32)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_bits_are_those_of_jax(impl):
    key = jax.random.key(7, impl=impl)
    assert_same_draws(key, bits, jax.random.bits, [(), (0,), (3, 5), (1000,)], jnp.uint32)


def test_numbers_are_those_of_jax_without_jit(key):
    np.testing.assert_array_equal(normal(key, (3, 5)), jax.random.normal(key, (3, 5)))


def test_numbers_are_those_of_jax_for_many_keys_under_jit_vmap_and_scan(key):
    keys = jax.random.split(key, 50)
    theirs = jax.jit(jax.vmap(lambda k: jax.random.normal(k, (4, 3))))(keys)
    np.testing.assert_array_equal(jax.jit(jax.vmap(lambda k: normal(k, (4, 3))))(keys), theirs)
    _, scanned = jax.lax.scan(lambda c, k: (c, normal(k, (4, 3))), 0, keys)
    np.testing.assert_array_equal(scanned, theirs)


many_normals = jax.jit(lambda key: normal(key, (300_000,)))


def test_tails_are_those_of_jax(key):
    # Where the inverse error function has its other branch, and at the largest numbers that 23 bits give.
    ours, theirs = (np.asarray(f(key)) for f in (many_normals, jax.jit(lambda k: jax.random.normal(k, (300_000,)))))
    assert np.abs(ours).max() > 4
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float64])
def test_other_dtypes_are_left_to_jax(key, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        ours = jax.jit(normal, static_argnums=(1, 2))(key, (5, 3), dtype)
        assert ours.dtype == dtype
        np.testing.assert_array_equal(ours, jax.random.normal(key, (5, 3), dtype))


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_every_generator_gives_the_numbers_of_jax(impl):
    key = jax.random.key(7, impl=impl)
    np.testing.assert_array_equal(jax.jit(normal, static_argnums=1)(key, (11,)), jax.random.normal(key, (11,)))


def test_raw_keys_are_left_to_jax():
    key = jax.random.PRNGKey(7)
    np.testing.assert_array_equal(jax.jit(normal, static_argnums=1)(key, (11,)), jax.random.normal(key, (11,)))


def test_float32_numbers_do_not_depend_on_x64(key):
    draw = jax.jit(lambda key: normal(key, (11,)))
    narrow = np.asarray(draw(key))
    with jax.enable_x64(True):
        wide = draw(key)
        assert wide.dtype == jnp.float32
        np.testing.assert_array_equal(wide, narrow)


def test_numbers_are_standard_gaussian(key):
    n = 300_000
    z = np.asarray(many_normals(key), np.float64)
    assert abs(z.mean()) < 4 / math.sqrt(n)
    assert abs(z.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs(stats.kurtosis(z)) < 4 * math.sqrt(24 / n)
    assert stats.kstest(z, "norm").pvalue > 1e-4
    assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) < 4 / math.sqrt(n)


def test_a_stream_is_the_key_folded_with_the_checksum_of_its_name(key):
    # zlib.crc32 is fixed for ever, unlike Python's own hash of a text.
    # The upper bit is dropped: crc32(b"read noise") = 1482511849 has none.
    expected = jax.random.fold_in(key, 1482511849)
    np.testing.assert_array_equal(jax.random.key_data(stream(key, "read noise")), jax.random.key_data(expected))


def test_every_stream_of_the_library_is_another_one(key):
    names = ["programming noise", "drift exponent", "read noise", "output noise", "chip", "chips", "reads"]
    names += [f"tile {i}" for i in range(200)]
    data = {tuple(np.asarray(jax.random.key_data(stream(key, name))).tolist()) for name in names}
    assert len(data) == len(names)


def test_streams_are_uncorrelated(key):
    n = 20_000
    names = ["programming noise", "drift exponent", "read noise", "output noise", "tile 0", "tile 1"]
    draw = jax.jit(lambda k: normal(k, (n,)))
    z = np.stack([draw(stream(key, name)) for name in names] + [draw(key), draw(stream(stream(key, "chip"), "chip"))])
    correlation = np.corrcoef(z)
    assert np.abs(correlation - np.eye(len(z))).max() < 4.5 / math.sqrt(n)  # the largest of 28
