"""How small the architectures are at which shrinking ends: what a person gets to read when a search fails."""

import pytest
import torch
from hypothesis import HealthCheck, find, settings

from gradcheck_suite.architectures.build import build, loss_function, make_batch
from gradcheck_suite.architectures.strategies import architectures
from gradcheck_suite.core.architecture import layer

FIXED = settings(max_examples=2000, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))


def shrunk(predicate, **domain):
    """The architecture at which Hypothesis ends, the same at every run."""
    return find(architectures(**domain), predicate, settings=FIXED)


def size(architecture):
    """The number of layers, those inside others included."""
    return len(list(architecture.walk()))


def gradients(architecture):
    model, batch = build(architecture, 0), make_batch(architecture, 0)
    (x,) = batch.args
    if x.is_floating_point():
        x.requires_grad_()
    loss_function(architecture)(model(x), batch.targets).backward()
    return [tensor.grad for tensor in (x, *model.parameters())]


def wrong(architecture):
    """Whether the planted defect changes any gradient."""
    pairs = zip(gradients(architecture), gradients(architecture.changed(defects=())), strict=True)
    return any(found is not None and not torch.allclose(found, right, rtol=1e-6, atol=1e-12) for found, right in pairs)


def culprit(architecture):
    return dict(architecture.walk())[architecture.defects[0].module].kind


def test_a_wrong_gradient_anywhere_ends_at_one_layer():
    found = shrunk(wrong, defects=("scaled-backward",))
    assert size(found) == 1
    assert found.batch == 1
    assert found.input_shape == (1,)


@pytest.mark.parametrize("kind", ["gelu", "conv2d", "batch_norm", "lstm", "max_pool", "residual"])
def test_a_wrong_gradient_in_a_kind_ends_at_three_layers_or_fewer(kind):
    found = shrunk(lambda architecture: culprit(architecture) == kind and wrong(architecture), defects=("scaled-backward",))
    assert size(found) <= 3
    assert found.batch <= 2
    assert max(found.input_shape) <= 2


@pytest.mark.parametrize(("kind", "expected"), [
    ("dense", (layer("dense", units=1),)),
    ("batch_norm", (layer("batch_norm"),)),
    ("conv2d", (layer("conv2d", channels=1, kernel=1),)),
    ("embedding", (layer("embedding", units=1),)),
    ("encoder", (layer("encoder", heads=1, hidden=1),)),
    ("concatenate", (layer("concatenate", layer("relu")),)),
])
def test_a_kind_ends_at_itself_with_default_options(kind, expected):
    found = shrunk(lambda architecture: any(one.kind == kind for _, one in architecture.walk()))
    assert found.layers == expected
    assert (found.loss, found.values, found.initialization, found.optimizer, found.training) == ("", "normal", "torch-default", "sgd", True)


def test_a_residual_with_a_convolution_ends_at_just_that():
    found = shrunk(lambda architecture: any(
        one.kind == "residual" and any(inner.kind in ("conv1d", "conv2d") for inner in one.layers) for _, one in architecture.walk()
    ))
    assert size(found) == 2
    assert found.layers[0].layers[0] in (layer("conv1d", channels=1, kernel=1), layer("conv2d", channels=1, kernel=1))


def test_a_depth_ends_at_that_depth_and_the_least_width():
    found = shrunk(lambda architecture: architecture.depth >= 5, kinds=("dense", "tanh"))
    assert found.depth == size(found) == 5
    assert max(found.input_shape) == 1
    assert all(one.option("units", 1) == 1 for one in found.layers)


def test_many_parameters_end_at_one_layer():
    found = shrunk(lambda architecture: sum(p.numel() for p in build(architecture, 0).parameters()) > 50)
    assert size(found) <= 2
    assert 50 < sum(p.numel() for p in build(found, 0).parameters()) <= 64
