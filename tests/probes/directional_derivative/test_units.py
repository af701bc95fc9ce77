"""Units: calls alone, containers with stubs, what is spared, what is stock."""

import torch
from torch import nn
from torch.nn.utils import parametrize

from gradcheck_suite.probes.directional_derivative.comparison import AGREES, ALONE, DISAGREES
from gradcheck_suite.probes.directional_derivative.examination import examine
from gradcheck_suite.probes.directional_derivative.experiment import DATA, INPUT, PARAMETER, STUB, linearize
from gradcheck_suite.probes.directional_derivative.units import GlueCall, ModuleCall, is_stock
from tests.probes.directional_derivative.models import DOUBLE, Formula, call_of, recorded, sine


def examined(unit, around):
    try:
        return examine(unit, around.draws, ALONE)
    finally:
        unit.close()


def test_a_leaf_call_has_its_inputs_and_parameters():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)).to(DOUBLE)
    calls, around = recorded(model, torch.randn(4, 3, dtype=DOUBLE))
    unit = ModuleCall(call_of(calls, "1"), around)
    assert unit.names() == ["input", "weight", "bias"]
    assert unit.roles == [INPUT, PARAMETER, PARAMETER]
    assert ModuleCall(call_of(calls, "0"), around).roles[0] == DATA
    assert examined(unit, around).status == AGREES


def test_data_may_be_left_alone():
    calls, around = recorded(nn.Linear(3, 2).to(DOUBLE), torch.randn(4, 3, dtype=DOUBLE))
    assert ModuleCall(calls[0], around, data=False).names() == ["weight", "bias"]


def test_a_call_that_writes_into_its_input_is_given_copies():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True)).to(DOUBLE)
    calls, around = recorded(model, torch.randn(4, 3, dtype=DOUBLE))
    call = call_of(calls, "1")
    kept = call.arguments.leaves[0].clone()
    assert examined(ModuleCall(call, around), around).status == AGREES
    assert torch.equal(call.arguments.leaves[0], kept)


def test_stubs_take_inner_calls_and_their_hooks_out_of_a_container():
    model = nn.Sequential(Formula(lambda m, x: m.part(x) * 2, part=nn.Sequential(nn.Linear(3, 3)))).to(DOUBLE)
    model[0].part.register_forward_hook(lambda module, args, output: output.detach() + 0.5 * (output - output.detach()))
    calls, around = recorded(model, torch.randn(4, 3, dtype=DOUBLE))
    assert examined(GlueCall(call_of(calls, "0"), around), around).status == AGREES
    assert examined(ModuleCall(call_of(calls, "0.part"), around), around).status == DISAGREES


def test_a_containers_own_code_is_what_a_stub_leaves():
    model = Formula(lambda m, x: m.part(x) / m.part(x).norm().item(), part=nn.Linear(3, 3)).to(DOUBLE)
    calls, around = recorded(model, torch.randn(4, 3, dtype=DOUBLE))
    assert examined(GlueCall(calls[0], around), around).status == DISAGREES


def test_an_inner_call_without_numbers_gets_a_free_scalar():
    model = Formula(lambda m, i: m.table(i) * m.table(i).sum().item(), table=nn.Embedding(5, 3)).to(DOUBLE)
    calls, around = recorded(model, torch.tensor([1, 2]))
    unit = GlueCall(calls[0], around)
    assert STUB in unit.roles
    assert examined(unit, around).status == DISAGREES


def test_parametrisations_are_inner_calls():
    layer = nn.Linear(3, 3).to(DOUBLE)
    parametrize.register_parametrization(layer, "weight", Formula(lambda _, w: w.triu() + w.triu(1).T))
    calls, around = recorded(layer, torch.randn(4, 3, dtype=DOUBLE))
    assert {call.path for call in calls} >= {"", "parametrizations.weight", "parametrizations.weight.0"}
    assert examined(GlueCall(calls[0], around), around).status == AGREES


def test_tied_weights_used_by_the_container_itself_are_found():
    model = Formula(lambda m, i: m.table(i) @ m.table.weight.T, table=nn.Embedding(5, 3)).to(DOUBLE)
    calls, around = recorded(model, torch.tensor([1, 2]))
    unit = GlueCall(calls[0], around)
    linearize(unit, around.draws)
    unit.close()
    assert "table.weight" in unit.names()


def test_a_checkpointed_region_calls_its_stubs_again():
    def forward(module, x):
        return torch.utils.checkpoint.checkpoint(module.part, x, use_reentrant=False) + x

    model = Formula(forward, part=nn.Sequential(nn.Linear(3, 3), nn.Tanh())).to(DOUBLE)
    calls, around = recorded(model, torch.randn(4, 3, dtype=DOUBLE))
    assert examined(GlueCall(calls[0], around), around).status == AGREES


def test_the_padding_row_of_an_embedding_is_not_moved():
    calls, around = recorded(nn.Embedding(5, 3, padding_idx=1).to(DOUBLE), torch.tensor([1, 1, 2]))
    unit = ModuleCall(calls[0], around)
    assert unit.untouched[0].any(1).tolist() == [False, True, False, False, False]
    assert examined(unit, around).status == AGREES


def test_lifted_inputs_are_in_double_precision():
    calls, around = recorded(nn.Tanh(), torch.randn(4))
    assert ModuleCall(calls[0], around).tensors[0].dtype == torch.float32
    assert ModuleCall(calls[0], around, lifted=True).tensors[0].dtype == DOUBLE


def test_stock_is_pytorchs_own_class_run_as_it_is():
    hooked, replaced = nn.Linear(2, 2), nn.Linear(2, 2)
    hooked.register_forward_hook(lambda *_: None)
    replaced.forward = lambda x: x
    subclass = type("Linear", (nn.Linear,), {"__module__": nn.Linear.__module__})(2, 2)
    assert is_stock(nn.Linear(2, 2))
    assert not any(map(is_stock, (hooked, replaced, subclass, sine())))
