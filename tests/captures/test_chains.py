"""Chains read from structures: what counts as one, what does not, and why."""

import math

import numpy as np
import pytest

from gradcheck_suite.captures.chains import asymmetry, dense_chain, gradients_at_matrices, lawless, no_rectifier_chain
from gradcheck_suite.captures.normalized_chain import growth, normalized_chain
from gradcheck_suite.captures.structure import Structure, Unit
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable


def structure(*units, outside=""):
    return Structure(modules=(), parameters=0, trainable=0, order=(), chain=units, outside=outside, dtype="float64", training=True)


def dense(path, inputs, outputs, bias="zero", shape=None):
    return Unit(path=path, kind="dense", input_shape=shape or (inputs,), output_shape=(outputs,), fan_in=inputs, fan_out=outputs, bias=bias)


def relu(path, slope=0.0):
    return Unit(path=path, kind="relu", settings=(("slope", slope),))


def step(path, kind):
    return Unit(path=path, kind=kind)


def test_a_chain_of_dense_layers_is_read():
    chain = dense_chain(structure(step("0", "flatten"), dense("1", 6, 5), relu("2"), step("3", "identity"), dense("4", 5, 2)))
    assert chain.paths == ("1", "4")
    assert chain.widths == (6, 5, 2)
    assert chain.slopes == (0.0, 1.0)
    assert no_rectifier_chain(structure(dense("1", 6, 5), relu("2"), dense("4", 5, 2))) is None


@pytest.mark.parametrize(("units", "fact"), [
    ((dense("0", 3, 3), step("1", "batch_norm")), "module 1 is a batch_norm"),
    ((relu("0"), dense("1", 3, 3)), "does not follow a dense layer"),
    ((dense("0", 3, 3), relu("1"), relu("2")), "does not follow a dense layer"),
    ((dense("0", 3, 3, shape=(5, 3)),), "acts on 2 axes"),
    ((step("0", "flatten"),), "no dense layer"),
])
def test_what_is_no_dense_chain(units, fact):
    with pytest.raises(NotApplicable, match=fact):
        dense_chain(structure(*units))
    with pytest.raises(NotApplicable, match="because"):
        dense_chain(structure(outside="because"))


def test_other_activations_and_missing_ones_are_named():
    assert "tanh" in no_rectifier_chain(structure(dense("0", 3, 3), step("1", "tanh"), dense("2", 3, 2)))
    assert "no rectifier stands behind module 0" in no_rectifier_chain(structure(dense("0", 3, 3), dense("2", 3, 2)))


def draws_of(bias_mean=0.0, hidden=1):
    from gradcheck_suite.architectures.subjects import subject
    from gradcheck_suite.core.architecture import Architecture, layer
    from gradcheck_suite.probes.gradient_norm_draws import gradient_norm_draws
    from gradcheck_suite.probes.structure import structure as structure_of

    layers = (*(layer("dense", units=5), layer("relu")) * hidden, layer("dense", units=2))
    one = subject(Architecture(input_shape=(6,), layers=layers, initialization="torch-default"))
    original = one.setup

    def setup(seed):
        made = original(seed)
        made.model[0].bias.data.add_(bias_mean)
        return made

    shifted = type(one)(name="shifted", setup=setup)
    return structure_of(shifted, BUDGETS["quick"], 0), gradient_norm_draws(shifted, BUDGETS["standard"], 0)


def test_asymmetric_biases_are_a_fact():
    seen, draws = draws_of()
    assert asymmetry(dense_chain(seen), draws) is None
    assert lawless(*draws_of(hidden=2)) is None
    seen, draws = draws_of(0.5, hidden=2)
    assert "0.bias have mean" in lawless(seen, draws)


def test_one_layer_is_no_depth():
    assert lawless(*draws_of()) == "one rectified layer alone: there is no depth"


def test_gradients_at_matrices_start_with_the_input():
    seen, draws = draws_of()
    columns = gradients_at_matrices(dense_chain(seen), draws)
    assert columns.shape == (32, 2)
    np.testing.assert_array_equal(columns[:, 0], draws.ratio)
    assert not math.isclose(columns[0, 0], columns[0, 1])


def blocks(count, width=64, kind="layer_norm"):
    units = []
    for index in range(count):
        units += [dense(f"{index}.0", width, width), step(f"{index}.1", kind), step(f"{index}.2", "tanh")]
    return structure(*units, dense("last", width, 3))


def test_normalised_chains_need_depth_width_and_equal_blocks():
    chain = normalized_chain(blocks(8), ("layer_norm",), width=64, depth=7)
    assert len(chain.paths) == 8
    assert (chain.norm, chain.activation.kind, chain.width) == ("layer_norm", "tanh", 64)
    for wrong in (blocks(6), blocks(8, 32), blocks(8, kind="batch_norm")):
        with pytest.raises(NotApplicable, match="the law needs 7 of 64 units"):
            normalized_chain(wrong, ("layer_norm",), width=64, depth=7)


def test_growth_is_read_between_the_skipped_ends():
    chain = normalized_chain(blocks(8), ("layer_norm",), width=64, depth=7)

    class Draws:
        paths = tuple(path for index in range(8) for path in (f"{index}.0", f"{index}.1", f"{index}.2"))
        kinds = ("Linear", "LayerNorm", "Tanh") * 8
        layer_gradient_batch = np.arange(24.0)[None, ::-1]

    grown, layers = growth(chain, Draws, 2)
    assert layers == 3
    assert grown.tolist() == [9.0]
