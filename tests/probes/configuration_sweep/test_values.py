import pytest
import torch
from torch import nn

from gradcheck_suite.probes.configuration_sweep import values
from gradcheck_suite.probes.configuration_sweep.draft import Inapplicable, draft_of
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.record import Call

X = torch.tensor([[3.0, 1.0, 2.0, 0.5], [0.5, 4.0, 1.0, 2.0]], dtype=torch.float64)


def drafted(*args, module=None):
    return draft_of(Call(module or nn.Identity(), "m", args, {}))


def applied(found, text, draft):
    change = next(change for change in found if change.text.endswith(text))
    change.apply(draft)
    return draft


@pytest.mark.parametrize(("text", "zeros"), [("zero in one row", 4), ("zero in one entry", 1), ("zero in two entries of a row", 2),
                                            ("zero everywhere", 8)])
def test_zeros(text, zeros):
    draft = drafted(X)
    applied(values.zeros(draft, {0: "x"}), text, draft)
    assert int((draft.leaves[0] == 0).sum()) == zeros


def test_parameters_of_zeros():
    module = nn.Linear(4, 2).double()
    draft = applied(values.zeros(drafted(X, module=module), {0: "x"}), "bias: zero", drafted(X, module=module))
    with draft.applied():
        assert not module.bias.any()
    assert module.bias.any()


def test_values_keep_zeros_where_they_are_scaled_and_lose_symmetry_where_they_are_changed():
    symmetric = torch.eye(3, dtype=torch.float64) + 1
    draft = drafted(symmetric)
    changed = applied(values.domain(draft, {0: "x"}, Draws(0)), "entries changed at random", draft).leaves[0]
    assert not torch.equal(changed, changed.t())
    assert (changed > 0).all()


def test_the_largest_entry_is_given_twice_and_moves_as_one():
    draft = applied(values.ties(drafted(X), {0: "x"}), "the largest entry of every row twice", drafted(X))
    leaf = draft.leaves[0].clone().requires_grad_()
    given = draft.arranged[0](leaf)
    assert torch.equal(given, torch.tensor([[3.0, 3.0, 2.0, 0.5], [0.5, 4.0, 4.0, 2.0]], dtype=torch.float64))
    (gradient,) = torch.autograd.grad(given.sum(), leaf)
    assert torch.equal(gradient, torch.tensor([[2.0, 0.0, 1.0, 1.0], [1.0, 2.0, 0.0, 1.0]], dtype=torch.float64))


def test_whole_numbers_are_repeated_and_made_smaller_but_stay_at_least_zero():
    tokens = torch.tensor([[1, 4], [2, 0]])
    for text, expected in (("an entry repeated", [[1, 1], [2, 0]]), ("one entry smaller by one", [[1, 3], [2, 0]]),
                           ("in another order", [[0, 1], [4, 2]]), ("one entry everywhere", [[1, 1], [1, 1]])):
        draft = drafted(tokens)
        assert applied(values.ties(draft, {0: "tokens"}), text, draft).leaves[0].tolist() == expected
    zeros = drafted(torch.zeros(2, dtype=torch.int64))
    with pytest.raises(Inapplicable):
        applied(values.ties(zeros, {0: "tokens"}), "one entry smaller by one", zeros)


def test_the_order_of_an_axis_stays_an_order():
    draft = drafted(X, torch.tensor([1, 0]))
    with pytest.raises(Inapplicable):
        applied(values.ties(draft, {0: "x", 1: "order"}), "order: an entry repeated", draft)
    assert applied(values.ties(draft, {0: "x", 1: "order"}), "order: in another order", draft).leaves[1].tolist() == [0, 1]


def test_of_several_kept_orders_none_is_changed():
    module = nn.Module()
    module.register_buffer("order", torch.tensor([2, 0, 1]))
    assert [name for name, _ in values.integers(drafted(X, module=module), {})] == ["order"]
    module.register_buffer("inverse", torch.tensor([1, 2, 0]))
    assert list(values.integers(drafted(X, module=module), {})) == []
