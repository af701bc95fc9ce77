"""The first operation that is not finite, named; operations at their edge; masks left alone."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.captures.operation_watch import OperationWatch, stable_form
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.probes.operation_watch import operation_watch
from tests.probes.small import classes, mlp, regression, subject


def seen(make, data, loss=functional.mse_loss) -> OperationWatch:
    return operation_watch(subject(make, data, loss), BUDGETS["quick"], 1)


class Applied(nn.Module):
    """A dense layer and a function behind it."""

    def __init__(self, function, inputs=4, outputs=2):
        super().__init__()
        self.layer, self.function = nn.Linear(inputs, outputs), function

    def forward(self, x):
        return self.function(self.layer(x))


def test_a_healthy_pass_has_nothing_to_report():
    capture = seen(lambda: mlp(4, 8, 3), classes(), functional.cross_entropy)
    assert capture.finite
    assert capture.producer is None
    assert capture.fragile == capture.mixed == ()
    assert capture.operations > 3
    assert decode(encode(capture)) == capture


FORWARD = {
    "log": lambda z: torch.log(torch.softmax(1e4 * z, -1)),
    "exp": lambda z: torch.exp(1e4 * z),
    "div": lambda z: z / (z.detach() * 0),
}
BACKWARD = {
    "sqrt": lambda z: (z * 0).sqrt(),
    "acos": lambda z: torch.acos(z * 0 + 1),
    "pow": lambda z: (z * 0) ** 0.5,
}


@pytest.mark.parametrize("name", FORWARD)
def test_the_operation_that_overflows_forward_is_named_with_module_and_line(name):
    producer = seen(lambda: Applied(FORWARD[name]), regression()).producer
    assert (producer.name, producer.phase, producer.module) == (name, "forward", "")
    assert producer.source.partition(":")[0].endswith("test_operation_watch.py")
    assert producer.entries > 0
    assert stable_form(name)


@pytest.mark.parametrize("name", BACKWARD)
def test_the_operation_whose_derivative_is_infinite_is_named(name):
    capture = seen(lambda: nn.Sequential(nn.Linear(4, 2), Applied(BACKWARD[name], 2, 2)), regression())
    assert capture.finite_loss
    assert not capture.finite_gradients
    assert (capture.producer.name, capture.producer.phase, capture.producer.module) == (name, "backward", "1")
    assert any(found.name == name for found in capture.fragile)


def test_an_operation_outside_the_model_has_no_module():
    producer = seen(lambda: mlp(4, 3), classes(), lambda o, y: -(torch.softmax(1e5 * o, 1).log().gather(1, y[:, None])).mean()).producer
    assert producer.name == "log"
    assert producer.module is None
    assert producer.smallest == 0.0


def test_a_mean_over_an_empty_mask_is_a_division_by_zero():
    def loss(output, targets):
        mask = targets[:, 0] > 1e9
        return ((output - targets).square().sum(1) * mask).sum() / mask.sum()

    assert seen(lambda: mlp(4, 2), regression(), loss).producer.name == "div"


def test_the_edge_of_an_operation_counts_where_a_gradient_passes():
    class Logs(nn.Module):
        def __init__(self, learned):
            super().__init__()
            self.learned, self.layer = learned, nn.Linear(4, 2)

        def forward(self, x):
            distance = torch.arange(4.0) * (self.layer.weight.sum() if self.learned else 1.0)
            return self.layer(x + torch.where(distance == 0, 0.0, distance.abs().log()))

    assert seen(lambda: Logs(False), regression()).fragile == ()
    assert [operation.name for operation in seen(lambda: Logs(True), regression()).fragile] == ["log"]


def test_infinities_of_a_mask_are_not_reported():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            scores = self.q(x) @ self.k(x).T
            mask = torch.full_like(scores, -torch.inf).triu(1)
            return (torch.softmax(scores + mask, -1) @ x)[:, :2]

    assert seen(Attention, regression()).finite


def test_a_row_that_is_masked_everywhere_is_the_softmaxs():
    def forward(z):
        return torch.softmax(torch.full_like(z, -math.inf), -1) * z

    assert seen(lambda: Applied(forward), regression()).producer.name == "softmax"


def test_a_mask_of_another_dtype_is_seen():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            q = self.layer(x)[None, None]
            mask = torch.zeros(len(x), len(x), dtype=torch.float32)
            return functional.scaled_dot_product_attention(q, q, q, attn_mask=mask)[0, 0, :, :2]

    wide = seen(lambda: Attention().double(), (regression()[0].double(), regression()[1].double()))
    assert wide.attentions == 1
    assert "float64" in wide.mixed[0].remark
    assert seen(Attention, regression()).mixed == ()
