"""Named noise streams, and their bits and Gaussians."""

import itertools
import math

import jax
import jax.extend.random
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from analogsim.base import normal, stream
from analogsim.base.random import bits, cipher, gaussians, generator, own_key, split, stored_key, threefry_key


def _words(key):
    return np.asarray(jax.random.key_data(own_key(key)))


def test_the_cipher_is_that_of_jax():
    low, high, upper, lower = np.random.default_rng(3).integers(0, 2**32, (4, 50), dtype=np.uint32)
    ours = jax.jit(lambda *w: jnp.stack(cipher(w[:2], w[2], w[3])))(low, high, upper, lower)
    encrypt = jax.jit(jax.vmap(lambda k0, k1, c0, c1: jax.extend.random.threefry_2x32([k0, k1], jnp.stack([c0, c1]))))
    np.testing.assert_array_equal(ours.T, encrypt(low, high, upper, lower))


def test_bits_are_the_cipher_of_the_word_of_the_stream_and_of_the_position(key):
    own = stream(key, "read noise")
    a, b, c = _words(own)
    counters = jnp.stack([jnp.full(15, c), jnp.arange(15, dtype=jnp.uint32)])
    encrypted = jax.extend.random.threefry_2x32([a, b], counters.ravel()).reshape(2, 15)
    np.testing.assert_array_equal(bits(own, (3, 5)), (encrypted[0] ^ encrypted[1]).reshape(3, 5))


@pytest.mark.parametrize("width", ["uint8", "uint16", "uint64"])
def test_bits_of_other_widths_are_uniform(key, width):
    with jax.enable_x64(True):
        words = np.asarray(jax.random.bits(own_key(key), (4096,), width))
    assert words.dtype == width
    ones = np.unpackbits(words.view(np.uint8)).reshape(4096, -1).mean(axis=0)
    assert np.abs(ones - 0.5).max() < 5 / (2 * math.sqrt(4096))


def test_a_child_follows_from_the_words_of_its_parent(key):
    def mix(x):
        x = (x ^ (x >> 16)) * 0x7FEB352D % 2**32
        x = (x ^ (x >> 15)) * 0x846CA68B % 2**32
        return x ^ (x >> 16)

    a, b = (int(word) for word in jax.random.key_data(key))
    first = 0x9E3779B9
    # zlib.crc32 is fixed for ever, unlike Python's own hash of a text: crc32(b"read noise") = 1482511849.
    expected = [a, b ^ first, mix(((first ^ 1482511849) + first) % 2**32)]
    assert _words(stream(key, "read noise")).tolist() == expected


def test_keys_of_all_descendants_differ(key):
    children = split(key, 300)
    grandchildren = jax.jit(jax.vmap(lambda child: split(child, 300)))(children)
    data = np.concatenate([_words(key)[None], _words(children), _words(grandchildren).reshape(-1, 3)])
    assert len(np.unique(data, axis=0)) == len(data)


def test_the_first_keys_of_a_split_do_not_depend_on_their_number(key):
    np.testing.assert_array_equal(_words(split(key, 3)), _words(split(key, (7,)))[:3])


def test_every_stream_of_the_library_is_another_one(key):
    names = ["programming noise", "drift exponent", "read noise", "output noise", "chip", "chips", "reads"]
    names += [f"modifier {i}" for i in range(200)]
    assert len({tuple(_words(stream(key, name)).tolist()) for name in names}) == len(names)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg", "raw"])
def test_keys_of_every_generator_give_streams_of_their_own(impl):
    keys = [jax.random.PRNGKey(n) if impl == "raw" else jax.random.key(n, impl=impl) for n in (7, 8)]
    drawn = [np.asarray(normal(key, (2000,))) for key in keys]
    np.testing.assert_array_equal(drawn[0], normal(own_key(keys[0]), (2000,)))
    assert abs(np.corrcoef(drawn)[0, 1]) < 4 / math.sqrt(2000)
    several = own_key(jnp.stack(keys))
    np.testing.assert_array_equal(_words(several), np.stack([_words(key) for key in keys]))


@pytest.mark.parametrize("impl", ["rbg", "own"])
def test_the_name_of_a_generator_makes_its_keys_again(impl):
    key = stream(jax.random.key(3), "own") if impl == "own" else jax.random.key(3, impl=impl)
    name, data = str(jax.random.key_impl(key)), jax.random.key_data(key)
    assert jax.random.wrap_key_data(data, impl=generator(name)) == key


def test_a_key_for_a_model_to_keep_has_the_type_of_the_old_one(key):
    for impl in ("threefry2x32", "rbg"):
        old = jax.random.key(1, impl=impl)
        new = stored_key(stream(key, "layer"), old)
        assert new.dtype == old.dtype
        assert stored_key(stream(key, "other"), old) != new
    assert threefry_key(key).dtype == jax.random.key(0, impl="threefry2x32").dtype


def test_gaussians_are_quantiles_as_exact_as_stated():
    magnitudes = np.unique(np.concatenate([[0, 1, 2, 3], np.geomspace(4, 2**31 - 1, 20_000)]).astype(np.uint32))
    of_words = jax.jit(gaussians)
    x = np.asarray(of_words(jnp.asarray(magnitudes)), np.float64)
    expected = stats.norm.isf((magnitudes * 2.0**-31 + 2.0**-32) / 2)
    assert expected.max() > 6.3  # the tails are there
    assert np.abs(x - expected).max() < 3e-5
    negative = of_words(jnp.asarray(np.uint32(0) - magnitudes))
    np.testing.assert_array_equal(negative[1:], -np.float32(x[1:]))


def test_numbers_are_the_same_under_jit_vmap_and_scan(key):
    keys = split(key, 50)
    single = np.stack([normal(k, (4, 3)) for k in keys])
    _, scanned = jax.lax.scan(lambda c, k: (c, normal(k, (4, 3))), 0, keys)
    for several in (jax.jit(jax.vmap(lambda k: normal(k, (4, 3))))(keys), scanned):
        np.testing.assert_allclose(several, single, rtol=2e-6, atol=1e-7)


def test_the_numbers_of_a_stream_do_not_depend_on_how_many_are_drawn(key):
    draw = jax.jit(lambda key: [normal(key, shape) for shape in [(), (0,), (7,), (2, 3), (1, 1000)]])
    *few, many = draw(key)
    for some in few:
        np.testing.assert_allclose(some.ravel(), many.ravel()[: some.size], rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float64])
def test_other_dtypes(key, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        ours = jax.jit(normal, static_argnums=(1, 2))(key, (4000,), dtype)
        assert ours.dtype == dtype
        assert stats.kstest(np.asarray(ours, np.float64), "norm").pvalue > 1e-3


def test_float32_numbers_do_not_depend_on_x64(key):
    draw = jax.jit(lambda key: normal(key, (11,)))
    narrow = np.asarray(draw(key))
    with jax.enable_x64(True):
        wide = draw(key)
        assert wide.dtype == jnp.float32
        np.testing.assert_allclose(wide, narrow, rtol=2e-6, atol=1e-7)


many_normals = jax.jit(lambda key: normal(key, (4_000_000,)))


def test_numbers_are_standard_gaussian(key):
    n = 4_000_000
    z = np.asarray(many_normals(key), np.float64)
    # E z^k = (k - 1)!! for even k and 0 for odd k; the variance of the estimate is (E z^2k - (E z^k)^2)/n.
    moment = {k: math.prod(range(k - 1, 0, -2)) * (k % 2 == 0) for k in range(1, 17)}
    for k in range(1, 9):
        error = np.mean(z**k) - moment[k]
        assert abs(error) < 4.5 * math.sqrt((moment[2 * k] - moment[k] ** 2) / n), f"moment {k}"
    assert stats.kstest(z[:1_000_000], "norm").pvalue > 1e-4
    for beyond in (3.0, 4.0, 4.75):
        expected = 2 * stats.norm.sf(beyond) * n
        assert abs(np.sum(np.abs(z) > beyond) - expected) < 4.5 * math.sqrt(expected)
    for lag in (1, 2, 16, 1024):
        assert abs(np.mean(z[:-lag] * z[lag:])) < 4.5 / math.sqrt(n)
        assert abs(np.mean((z[:-lag] ** 2 - 1) * (z[lag:] ** 2 - 1))) < 4.5 * 2 / math.sqrt(n)


def test_streams_are_uncorrelated(key):
    n, chip = 20_000, stream(key, "chip")
    keys = [own_key(key), chip, *(stream(key, name) for name in ("read noise", "output noise")), *split(chip, 3)]
    keys += [stream(chip, "chip"), *split(stream(chip, "tiles"), 3), *split(key, 3)]
    z = np.asarray(jax.jit(jax.vmap(lambda k: normal(k, (n,))))(jnp.stack(keys)))
    largest = max(abs(np.corrcoef(f(z[i]), f(z[j]))[0, 1]) for f in (np.asarray, np.square) for i, j in _pairs(len(z)))
    assert largest < 5 / math.sqrt(n)  # the largest of 182


def _pairs(n):
    return itertools.combinations(range(n), 2)
