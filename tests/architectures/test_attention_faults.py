"""Faults of attention: a softmax whose backward pass forgets a term."""

import pytest
import torch

from gradcheck_suite.architectures.build import build, make_batch
from gradcheck_suite.core.architecture import Architecture, Defect, layer

NETS = [
    Architecture(input_shape=(4, 6), layers=(layer("attention", heads=2, causal=causal),)) for causal in (False, True)
] + [Architecture(input_shape=(4, 6), layers=(layer("encoder", heads=2, hidden=5, norm="pre", causal=True),))]


@pytest.mark.parametrize("net", NETS, ids=repr)
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_a_forgetful_softmax_gives_the_same_output_and_another_gradient(net, strength):
    x = make_batch(net, 0).args[0]
    found = []
    for architecture in (net, net.changed(defects=(Defect(kind="forgetful-softmax", module="0", strength=strength),))):
        leaf = x.clone().requires_grad_()
        output = build(architecture, 0)(leaf)
        (gradient,) = torch.autograd.grad(output.square().sum(), leaf)
        found.append((output.detach(), gradient))
    (plain, right), (other, wrong) = found
    torch.testing.assert_close(other, plain)
    assert torch.allclose(right, wrong, rtol=1e-9, atol=1e-12) == (strength == 0.0)
