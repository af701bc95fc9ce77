"""Nested values: leaves, paths, rebuilding, sharing."""

import collections
import dataclasses
from typing import Any

import torch
from torch import nn

from gradcheck_suite.probes.directional_derivative.trees import Tree, argument_names, exact_paths, inexact_leaves

Pair = collections.namedtuple("Pair", "left right")


@dataclasses.dataclass
class Output:
    scores: Any
    extra: Any = None
    count: int = 1


class Cache:
    """Grows when a layer writes into it."""

    def __init__(self):
        self.keys = []


def doubled(value):
    tree = Tree(value)
    return tree.build([2 * leaf for leaf in tree.leaves])


def test_leaves_and_paths_of_nested_containers():
    value = {"x": [torch.ones(1), torch.zeros(1)], "pair": Pair(torch.ones(2), None), "n": 3}
    tree = Tree(value)
    assert tree.paths() == ["['x'][0]", "['x'][1]", "['pair'].left"]
    made = doubled(value)
    assert made["pair"].left.tolist() == [2.0, 2.0]
    assert made["pair"].right is None
    assert made["n"] == 3


def test_dataclasses_mappings_and_subclasses_keep_their_type():
    value = Output(torch.ones(1), collections.OrderedDict(h=torch.ones(2)))
    made = doubled(value)
    assert isinstance(made, Output)
    assert isinstance(made.extra, collections.OrderedDict)
    assert made.extra["h"].tolist() == [2.0, 2.0]
    assert value.scores.item() == 1.0


def test_packed_sequences():
    packed = nn.utils.rnn.pack_padded_sequence(torch.ones(3, 2, 1), torch.tensor([3, 2]))
    made = doubled(packed)
    assert type(made) is type(packed)
    assert made.data.sum() == 10


def test_a_tensor_that_appears_twice_is_one_leaf():
    x = torch.ones(2)
    tree = Tree((x, x, {"again": x}))
    assert len(tree.leaves) == 1
    first, second, rest = tree.build([torch.zeros(2)])
    assert first is second
    assert first is rest["again"]


def test_objects_are_made_anew_so_that_a_call_does_not_spoil_the_next():
    cache = Cache()
    cache.keys.append(torch.ones(1))
    tree = Tree((cache,))
    (made,) = tree.build(tree.leaves)
    made.keys.append(torch.zeros(1))
    assert len(cache.keys) == 1
    assert len(tree.build(tree.leaves)[0].keys) == 1


def test_a_cycle_ends():
    value: list[Any] = [torch.ones(1)]
    value.append(value)
    assert len(Tree(value).leaves) == 1


def test_integers_are_not_leaves_and_are_named():
    value = (torch.ones(1), {"ids": torch.tensor([1, 2])}, torch.tensor([True]))
    assert len(inexact_leaves(value)) == 1
    assert list(exact_paths(value)) == ["[1]['ids'] (int64)", "[2] (bool)"]


def test_complex_tensors_are_leaves():
    assert len(inexact_leaves([torch.ones(2, dtype=torch.complex128)])) == 1


def test_argument_names_come_from_the_signature():
    class Named(nn.Module):
        def forward(self, query, *rest, mask=None):
            return query

    tree = Tree((torch.ones(1), torch.ones(1), [torch.ones(1)], torch.ones(1)))
    names = argument_names(Named(), (1, 2, 3), {"mask": 4})
    assert tree.paths(names) == ["query", "rest[0]", "rest[1][0]", "mask"]
