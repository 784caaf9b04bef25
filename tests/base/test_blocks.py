"""What ``digital()`` and ``override_hardware(...)`` mean for threads, generators, coroutines, caches, programs."""

import asyncio
import concurrent.futures
import contextvars
import gc
import threading

import jax
import numpy as np
import pytest

from analogsim import InputError, digital, override_hardware, preset
from analogsim.hardware.override import effective_hardware, without_overrides
from analogsim.layers import modes
from analogsim.linen import AnalogDense

HARDWARE = preset("int8", **{"store.bits": 2})
X = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
KERNEL = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
LAYER = AnalogDense(3, hardware=HARDWARE, use_bias=False)


@jax.jit
def run(kernel, x):
    return LAYER.apply({"params": {"kernel": kernel}}, x)


@jax.jit
def seen(x):
    """1 where it was traced in a digital block, plus the bits that the altered blocks give."""
    return x + isinstance(modes.current(), modes.DigitalMode) + 10 * effective_hardware(HARDWARE, "layer").store.bits


def bits(n):
    return override_hardware(lambda path, hardware: hardware.replace(**{"store.bits": n}))


def one_more():
    return override_hardware(lambda path, hardware: hardware.replace(**{"store.bits": hardware.store.bits + 1}))


@pytest.fixture(autouse=True)
def no_block_is_left():
    assert int(seen(0)) == 20
    yield
    assert int(seen(0)) == 20
    assert modes.current() is None


def test_a_function_that_was_compiled_outside_is_compiled_anew_inside():
    """And the other way around: by what a layer computes, 2 bits being far from exact."""
    outside = np.asarray(run(KERNEL, X))
    with digital():
        np.testing.assert_allclose(run(KERNEL, X), X @ KERNEL, rtol=1e-5)
        only_inside = jax.jit(lambda x: LAYER.apply({"params": {"kernel": KERNEL}}, x))
        np.testing.assert_allclose(only_inside(X), X @ KERNEL, rtol=1e-5)
    assert np.abs(outside - X @ KERNEL).max() > 0.1
    np.testing.assert_array_equal(run(KERNEL, X), outside)
    np.testing.assert_allclose(only_inside(X), outside, rtol=1e-5)


def test_a_program_that_was_compiled_ahead_of_time_stays_what_it_is():
    outside = seen.lower(0).compile()
    with digital(), bits(5):
        inside = seen.lower(0).compile()
        traced = seen.trace(0)
        assert int(outside(0)) == 20
        assert int(seen(0)) == 51
    assert int(inside(0)) == int(traced.lower().compile()(0)) == 51
    assert int(outside(0)) == 20


def test_what_was_linearised_inside_is_pulled_back_outside_as_it_was():
    with digital():
        _, back = jax.vjp(lambda x: run(KERNEL, x), X)
    (gradient,) = back(np.ones((2, 3), np.float32))
    np.testing.assert_allclose(gradient, np.ones((2, 3)) @ KERNEL.T, rtol=1e-5)


def test_a_thread_begins_without_blocks_and_keeps_its_own():
    with concurrent.futures.ThreadPoolExecutor(1) as pool, digital(), bits(5):
        assert int(pool.submit(seen, 0).result()) == 20
        assert pool.submit(lambda: (digital().__enter__(), int(seen(0)))[1]).result() == 21  # left open in that thread
        assert int(seen(0)) == 51
    assert int(seen(0)) == 20


def test_copies_of_contexts_carry_no_block():
    with digital():
        inside = contextvars.copy_context()
    assert int(inside.run(seen, 0)) == 20
    outside = contextvars.copy_context()
    with digital():
        assert int(outside.run(seen, 0)) == 21
        outside.run(lambda: bits(5).__enter__())  # stays in force in the thread, whatever context entered it
        assert int(seen(0)) == 51
        from analogsim.hardware.override import _changes

        _changes.leave(_changes._open()[-1])


def open_over_a_yield(block):
    with block:
        yield int(seen(0))
        yield int(seen(0))


def test_a_generator_is_in_force_until_it_leaves_its_block():
    generator = open_over_a_yield(digital())
    assert next(generator) == 21
    assert int(seen(0)) == 21
    with bits(5):
        assert next(generator) == 51
        assert next(generator, None) is None  # it leaves its block inside of ours
        assert int(seen(0)) == 50
    assert int(seen(0)) == 20


@pytest.mark.parametrize("first", [0, 1, 2])
def test_blocks_left_in_any_order_leave_those_that_are_open(first):
    """Three generators hold a block each; whichever goes first, the others stay in force and nothing else."""
    held = [open_over_a_yield(block) for block in (bits(4), one_more(), one_more())]
    for generator in held:
        next(generator)
    assert int(seen(0)) == 60
    held[first].close()
    assert int(seen(0)) == (40 if first == 0 else 50)  # 2 + 1 + 1, or 4 + 1
    for generator in held:
        generator.close()


def test_a_generator_that_is_forgotten_leaves_its_block():
    generator = open_over_a_yield(digital())
    next(generator)
    del generator
    gc.collect()
    assert int(seen(0)) == 20


def test_a_block_is_left_in_its_own_thread():
    generator, errors = open_over_a_yield(digital()), []
    next(generator)

    def elsewhere():
        try:
            generator.close()
        except InputError as error:
            errors.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "is left in another thread than it was entered in" in errors[0]
    with bits(5):  # it is gone as soon as this thread opens another
        assert int(seen(0)) == 50


def test_awaiting_inside_is_refused():
    async def right():
        with digital():
            found = int(seen(0))
        await asyncio.sleep(0)
        return found, int(seen(0))

    async def wrong(block):
        with block:
            await asyncio.sleep(0)

    async def failing():
        with digital():
            await asyncio.sleep(0)
            raise KeyError("its own")

    async def both():
        return await asyncio.gather(right(), wrong(digital()), wrong(bits(5)), failing(), return_exceptions=True)

    found, digitally, altering, failed = asyncio.run(both())
    assert found[0] == 21  # and what it sees after its own await is in doubt: others hold blocks open
    for name, error in (("digital()", digitally), ("override_hardware(...)", altering)):
        assert isinstance(error, InputError)
        assert str(error).startswith(f"{name}: the block was open during an await")
    assert isinstance(failed, KeyError)
    assert asyncio.run(right()) == (21, 20)


def test_blocks_can_be_entered_again_and_nest():
    block = digital()
    for _ in range(2):
        with block:
            assert int(seen(0)) == 21
    more = one_more()
    with more, more, block, block:
        assert int(seen(0)) == 41
        with modes.enter(modes.InventoryMode()), without_overrides():
            assert int(seen(0)) == 20
            with one_more():
                assert int(seen(0)) == 30
        assert int(seen(0)) == 41


def test_an_exception_leaves_the_block():
    with pytest.raises(KeyError), digital(), bits(5):
        raise KeyError
    assert int(seen(0)) == 20


def test_blocks_decorate_functions_but_nothing_that_runs_later():
    assert digital()(lambda: int(seen(0)))() == 21

    async def coroutine():
        pass

    def generator():
        yield

    async def both():
        yield

    for later in (coroutine, generator, both):
        with pytest.raises(
            InputError, match=r"digital\(\): cannot decorate '\w+', a coroutine or generator, whose body runs"
        ):
            digital()(later)
