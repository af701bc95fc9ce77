"""Faults of parameters: a gradient that each use overwrites."""

import torch

from gradcheck_suite.architectures.build import build, make_batch
from gradcheck_suite.core.architecture import Architecture, Defect, layer

NET = Architecture(input_shape=(3,), layers=(layer("repeated", layer("dense", units=3), layer("tanh"), times=2),))


def gradient(architecture):
    model, x = build(architecture, 0), make_batch(architecture, 0).args[0].requires_grad_()
    output = model(x)
    output.sum().backward()
    return output.detach(), model.get_submodule("0.0").weight.grad, x.grad


def test_the_first_use_alone_is_left_of_an_overwritten_gradient():
    output, weight, x = gradient(NET)
    other, kept, same = gradient(NET.changed(defects=(Defect(kind="overwritten-gradient", module="0.0", strength=2.0),)))
    assert torch.equal(output, other)
    assert torch.equal(x, same)
    model, inputs = build(NET, 0), make_batch(NET, 0).args[0]
    first = model.get_submodule("0.0").weight
    second = first.detach()
    hidden = torch.tanh(torch.nn.functional.linear(inputs, first, model.get_submodule("0.0").bias))
    torch.tanh(torch.nn.functional.linear(hidden, second, model.get_submodule("0.0").bias)).sum().backward()
    torch.testing.assert_close(kept, 2 * first.grad)
    assert not torch.allclose(weight, first.grad)
