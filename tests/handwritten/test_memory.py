"""Objects are put back as they were, in place, with their random generators."""

import functools
import random
import threading

import numpy as np

from gradcheck_suite.handwritten.memory import Memory


class Thing:
    __slots__ = ("held",)


class Holder:
    def __init__(self):
        self.array = np.arange(3.0)
        self.nested = {"list": [1, self.array], "set": {1, 2}}
        self.generator = np.random.default_rng(0)
        self.legacy = np.random.RandomState(0)
        self.python = random.Random(0)
        self.thing = Thing()
        self.thing.held = np.ones(2)
        self.me = self
        self.lock = threading.Lock()

    def method(self):
        return self.array


def spoil(holder):
    holder.array += 1
    holder.array = np.zeros(1)
    holder.nested["list"].clear()
    holder.nested["set"].add(3)
    holder.nested["new"] = 1
    holder.thing.held *= 5
    holder.fresh = 1
    del holder.me
    return holder.generator.random(), holder.legacy.rand(), holder.python.random(), np.random.rand(), random.random()


def test_everything_is_put_back_in_place():
    holder = Holder()
    array, held, thing = holder.array, holder.nested["list"], holder.thing
    memory = Memory(holder)
    first = spoil(holder)
    memory.restore()
    assert holder.array is array
    assert np.array_equal(array, np.arange(3.0))
    assert holder.nested == {"list": held, "set": {1, 2}}
    assert held == [1, array]
    assert holder.thing is thing
    assert np.array_equal(thing.held, np.ones(2))
    assert not hasattr(holder, "fresh")
    assert holder.me is holder
    assert spoil(holder) == first


def test_rewinding_touches_generators_alone():
    holder = Holder()
    memory = Memory(holder)
    first = spoil(holder)
    memory.rewind()
    assert hasattr(holder, "fresh")
    assert (holder.generator.random(), holder.legacy.rand(), holder.python.random(), np.random.rand(), random.random()) == first


def test_callables_lead_to_what_they_carry():
    holder, weights = Holder(), np.ones(2)

    def closure(factor=weights):
        return holder.array * factor

    for root in (holder.method, closure, functools.partial(closure, factor=weights), lambda: holder):
        memory = Memory(root)
        holder.array += 1
        weights *= 3
        memory.restore()
        assert np.array_equal(holder.array, np.arange(3.0))
        weights[...] = 1


def test_a_log_in_a_closure_is_left_to_grow():
    log, arrays = [], [np.ones(2)]

    def logging(x):
        log.append(x)
        arrays[0] += x
        return x

    memory = Memory(logging)
    logging(1)
    memory.restore()
    assert log == [1]
    assert np.array_equal(arrays[0], np.ones(2))


def test_what_cannot_be_written_is_left_alone():
    class Odd:
        fixed = np.ones(2)
        objects = np.array([None, 1], dtype=object)

        @property
        def raising(self):
            raise RuntimeError

    odd = Odd()
    odd.read_only = np.ones(2)
    odd.read_only.setflags(write=False)
    odd.text, odd.objects = "a", np.array([None], dtype=object)
    memory = Memory(odd, None, 3, "x", np, int)
    odd.text = "b"
    memory.restore()
    assert odd.text == "a"
