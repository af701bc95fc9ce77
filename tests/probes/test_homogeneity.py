"""Homogeneity: chains without biases obey, what is no such chain is told as a fact, faults are counted in bits."""

import numpy as np
import pytest

from gradcheck_suite.architectures.subjects import subject
from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.homogeneity import homogeneity

DENSE = (layer("dense", units=8), layer("relu"), layer("dense", units=7), layer("prelu"), layer("dense", units=3))
NET = Architecture(input_shape=(6,), layers=DENSE, initialization="he-normal")
IMAGE = NET.changed(input_shape=(2, 8, 8), layers=(
    layer("conv2d", channels=4, padding=1, groups=2), layer("relu"), layer("conv2d", channels=4), layer("avg_pool"), layer("flatten"),
    layer("dense", units=3)))


def capture(architecture):
    return homogeneity(subject(architecture), BUDGETS["quick"], 3)


@pytest.mark.parametrize(("architecture", "pairs"), [(NET, 2), (IMAGE, 1), (NET.changed(dtype="float32"), 2)])
def test_chains_without_biases_obey(architecture, pairs):
    seen = capture(architecture)
    assert seen.output_bits == 0
    assert seen.bits.sum() == 0
    assert seen.rescaled_output_bits == 0
    assert seen.rescaled_bits.sum() == 0
    assert seen.rescaled == pairs
    residual = np.abs(seen.euler - seen.contraction)[seen.weights]
    assert (residual <= 32 * seen.epsilon * seen.euler_scale[seen.weights]).all()
    np.testing.assert_array_equal(decode(encode(seen)).euler, seen.euler)


@pytest.mark.parametrize(("layers", "initialization", "fact"), [
    ((layer("dense", units=4), layer("tanh")), "he-normal", "a tanh, which does not commute"),
    ((layer("dense", units=4), layer("relu")), "torch-default", "module 0 has a bias"),
    ((layer("relu"),), "he-normal", "no weights"),
    ((layer("residual", layer("dense", units=6)),), "he-normal", "not a plain chain"),
])
def test_what_is_no_such_chain_is_told(layers, initialization, fact):
    with pytest.raises(NotApplicable, match=fact):
        capture(NET.changed(layers=layers, initialization=initialization))


def test_a_hidden_offset_changes_outputs_and_a_scaled_backward_only_euler():
    offset = capture(NET.changed(defects=(Defect(kind="hidden-offset", module="1", strength=1e-3),)))
    assert offset.output_bits > 0
    scaled = capture(NET.changed(defects=(Defect(kind="scaled-backward", module="3", strength=2.0),)))
    assert scaled.bits.sum() == scaled.rescaled_bits.sum() == 0
    ratios = scaled.euler[scaled.weights] / scaled.contraction
    np.testing.assert_allclose(ratios, [2.0, 2.0, 1.0])
