"""Set-ups as people write them: what is wrong with a faulty one is named among the first two findings, and a healthy one is left alone."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gradcheck_suite import api
from gradcheck_suite.core.evidence import Verdict
from gradcheck_suite.targets import subject_of

FAMILIES = ("activations", "data", "initialization", "numerics", "optimization", "recurrence", "structure")
Parts = dict[str, Any]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def adam(rate: float = 1e-2, **options: Any) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda parameters: torch.optim.Adam(parameters, lr=rate, **options)


def net(*sizes: int) -> nn.Sequential:
    layers = [part for n_in, n_out in pairwise(sizes) for part in (nn.Linear(n_in, n_out), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def set_up(model: nn.Module, inputs: Any, targets: Any, loss: Any, optimizer: Any, steps: int = 200) -> Parts:
    return {"model": model, "inputs": inputs, "targets": targets, "loss": loss, "optimizer": optimizer, "steps": steps}


def classes(columns: int = 8) -> tuple[Tensor, Tensor]:
    x = numbers(64, columns)
    return x, (x @ numbers(columns, 4, seed=1)).argmax(1)


class Keeping(torch.optim.SGD):
    """An optimiser that forgets to clear its gradients."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Does nothing."""


class Gathering(torch.optim.Adam):
    """An optimiser that makes a step with the mean of four gradients."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, lr=lr)
        self.calls = 0
        self.sums: dict[Tensor, Tensor] = {}

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Gather, and every fourth time move."""
        self.calls += 1
        for parameter in self.param_groups[0]["params"]:
            self.sums[parameter] = self.sums.get(parameter, torch.zeros_like(parameter)) + parameter.grad / 4
        if self.calls % 4 == 0:
            for parameter, total in self.sums.items():
                parameter.grad = total
            self.sums = {}
            super().step()


class Attending(nn.Module):
    """One layer of causal attention; ``axis`` is that of the softmax, -1 being right."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis, self.embed, self.keys, self.head = axis, nn.Embedding(8, 16), nn.Linear(16, 16), nn.Linear(16, 8)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, time) to (batch, time, 8)."""
        x = self.embed(tokens)
        mask = torch.full((x.shape[1], x.shape[1]), -torch.inf, dtype=x.dtype).triu(1)
        return self.head(x + torch.softmax(self.keys(x) @ x.transpose(1, 2) / 4 + mask, self.axis) @ x)


class Translating(nn.Module):
    """A decoder that sees the whole source and only the past of its own output."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.source = nn.Embedding(8, 16), nn.Linear(16, 16)
        self.recurrent, self.head = nn.GRU(16, 16, batch_first=True), nn.Linear(16, 8)

    def forward(self, source: Tensor, output: Tensor) -> Tensor:
        """Two (batch, time) to (batch, time, 8)."""
        return self.head(self.recurrent(self.embed(output) + self.source(self.embed(source)).mean(1, keepdim=True))[0])


class Density(nn.Module):
    """A normal density whose log-likelihood the model itself computes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = net(8, 16, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 8) to (batch,)."""
        mean, scale = self.body(x).unbind(1)
        return torch.distributions.Normal(mean, functional.softplus(scale) + 0.1).log_prob(x.sum(1))


def tokens() -> tuple[Tensor, Tensor]:
    start = torch.randint(0, 8, (32, 1), generator=torch.Generator().manual_seed(0))
    row = (start + torch.arange(10)) % 8
    return row[:, :-1], row[:, 1:]


def of_tokens(output: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(output.transpose(1, 2), targets)


def policy(output: Tensor, targets: Tensor) -> Tensor:
    return -(output.gather(1, targets[:, :1].long())[:, 0] * targets[:, 1]).mean()


def kept_gradients() -> Parts:
    return set_up(net(8, 16, 4), *classes(), functional.cross_entropy, lambda parameters: Keeping(parameters, lr=0.1))


def rate_too_low() -> Parts:
    return set_up(net(8, 16, 4), *classes(), functional.cross_entropy, lambda parameters: torch.optim.Adagrad(parameters, lr=1e-5))


def softmax_over_queries() -> Parts:
    return set_up(Attending(1), *tokens(), of_tokens, adam())


def double_softmax() -> Parts:
    return set_up(nn.Sequential(*net(8, 16, 4), nn.Softmax(1)), *classes(), functional.cross_entropy, adam(1e-3))


def sigmoid_before_logits() -> Parts:
    x, y = classes()
    return set_up(nn.Sequential(*net(8, 16, 3), nn.Sigmoid()), x, functional.one_hot(y, 4)[:, :3].float(),
                  functional.binary_cross_entropy_with_logits, adam())


def pixels() -> Parts:
    x, y = classes()
    x = x.clone()
    x[:, 2] *= 1e6
    return set_up(net(8, 16, 4), x, y, functional.cross_entropy, adam())


def decay_too_large() -> Parts:
    return set_up(net(8, 16, 4), *classes(), functional.cross_entropy, adam(weight_decay=30.0))


def empty_mask() -> Parts:
    x, y = tokens()
    mask = torch.ones(y.shape)
    mask[3] = 0

    def loss(output: Tensor, targets: Tensor) -> Tensor:
        each = functional.cross_entropy(output.transpose(1, 2), targets, reduction="none")
        return ((each * mask).sum(1) / mask.sum(1)).mean()

    return set_up(Attending(-1), x, y, loss, adam())


def swapped_quantiles() -> Parts:
    x = numbers(64, 8)
    levels = torch.tensor([0.1, 0.5, 0.9])
    return set_up(net(8, 16, 3), x, x.sum(1, keepdim=True),
                  lambda o, t: torch.minimum(levels * (t - o), (levels - 1) * (t - o)).mean(), adam())


def hot() -> Parts:
    return set_up(net(8, 64, 64, 4), *classes(), functional.cross_entropy, adam(3.0))


def frozen_head_of_zeros() -> Parts:
    model = net(8, 16, 4)
    nn.init.zeros_(model[-1].weight).requires_grad_(False)
    return set_up(model, *classes(), functional.cross_entropy, adam())


class Masked(nn.Module):
    """Attention whose mask is multiplied behind the softmax: its denominators see the future, by little where the keys are small."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.keys, self.head = nn.Embedding(8, 16), nn.Linear(16, 16), nn.Linear(16, 8)
        nn.init.normal_(self.embed.weight, std=0.05)
        nn.init.normal_(self.keys.weight, std=0.05)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, time) to (batch, time, 8)."""
        x = self.embed(tokens)
        return self.head(x + torch.softmax(self.keys(x) @ x.transpose(1, 2) / 4, -1).tril() @ x)


def mask_behind_the_softmax() -> Parts:
    return set_up(Masked(), *tokens(), of_tokens, adam())


def similarity_minimised() -> Parts:
    x, _ = classes()
    return set_up(net(8, 16, 4), x, torch.tanh(x @ numbers(8, 4, seed=1)), lambda o, t: functional.cosine_similarity(o, t, dim=1).mean(),
                  adam())


def missing_value() -> Parts:
    x, y = classes()
    x[5, 2] = torch.nan
    return set_up(net(8, 16, 4), x, y, functional.cross_entropy, adam())


def shuffled_labels() -> Parts:
    x, y = numbers(256, 8), torch.randint(0, 4, (256,), generator=torch.Generator().manual_seed(3))
    return set_up(nn.Linear(8, 4), x, y, functional.cross_entropy, lambda parameters: torch.optim.SGD(parameters, lr=0.3))


@dataclass(frozen=True, slots=True)
class Fault:
    """A faulty set-up and the properties that name its cause."""

    make: Callable[[], Parts]
    causes: tuple[str, ...]


FAULTS = (
    Fault(kept_gradients, ("gradient-clearing",)),
    Fault(rate_too_low, ("learning-rate-sufficiency",)),
    Fault(softmax_over_queries, ("causal-order",)),
    Fault(double_softmax, ("output-range",)),
    Fault(sigmoid_before_logits, ("output-range",)),
    Fault(pixels, ("input-scale",)),
    Fault(decay_too_large, ("regularization-strength",)),
    Fault(empty_mask, ("operation-stability",)),
    Fault(swapped_quantiles, ("loss-boundedness",)),
    Fault(hot, ("learning-rate-stability",)),
    Fault(frozen_head_of_zeros, ("gradient-activity",)),
    Fault(mask_behind_the_softmax, ("causal-order",)),
    Fault(similarity_minimised, ("loss-boundedness",)),
    Fault(missing_value, ("finite-gradients",)),
    Fault(shuffled_labels, ("advantage-over-constant",)),
)


def accumulation() -> Parts:
    return set_up(net(8, 16, 4), *classes(), functional.cross_entropy, lambda parameters: Gathering(parameters, lr=1e-2))


def teacher_forcing() -> Parts:
    source, output = tokens()
    return {**set_up(Translating(), None, output, of_tokens, adam()), "inputs": (source.flip(0), source)}


def likelihood_in_the_model() -> Parts:
    return set_up(Density(), numbers(64, 8), None, lambda output, _: -output.mean(), adam())


def policy_gradient() -> Parts:
    x, y = classes()
    gains = torch.where(y == 0, 1.0, -0.5)
    return set_up(nn.Sequential(*net(8, 16, 4), nn.LogSoftmax(1)), x, torch.stack([y.float(), gains], 1), policy, adam(1e-3))


def counts() -> Parts:
    x = numbers(64, 8)
    targets = torch.poisson((x.sum(1, keepdim=True) / 2 + 1).exp().clamp(max=40), generator=torch.Generator().manual_seed(2))
    return set_up(net(8, 16, 1), x, targets, functional.poisson_nll_loss, adam(5e-3))


def plain_classifier() -> Parts:
    return set_up(net(8, 32, 4), *classes(), functional.cross_entropy, adam())


HEALTHY = (accumulation, teacher_forcing, likelihood_in_the_model, policy_gradient, counts, plain_classifier)


def violated(make: Callable[[], Parts]) -> list[str]:
    """The properties of the violated findings, in the order of the report, each once."""
    report = api.audit(subject_of(make, name=make.__name__), select=FAMILIES, isolation="none", budget="quick", seed=0)
    assert not [finding.message for finding in report.findings if finding.verdict is Verdict.ERROR]
    return list(dict.fromkeys(finding.property for finding in report.findings if finding.verdict is Verdict.VIOLATED))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.make.__name__)
def test_the_cause_is_among_the_first_two(fault):
    found = violated(fault.make)
    assert set(found[:2]) & set(fault.causes), found


@pytest.mark.parametrize("make", HEALTHY, ids=lambda make: make.__name__)
def test_a_healthy_set_up_is_left_alone(make):
    assert violated(make) == []
