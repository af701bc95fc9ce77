"""Losses computed by the model: a classifier's, a VAE's, a contrastive one, a critic's with gradient penalty."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from .case import Case, Facts, facts, setting


class SmoothedEntropy(Function):
    """Cross entropy with label smoothing, mean over the rows."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        logp = torch.log_softmax(logits, -1)
        target = functional.one_hot(labels, logits.shape[-1]).to(logits.dtype)
        ctx.save_for_backward(logp, target)
        ctx.smoothing = smoothing
        target = (1 - smoothing) * target + smoothing / logits.shape[-1]
        return -(target * logp).sum(-1).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        logp, target = ctx.saved_tensors
        target = (1 - ctx.smoothing) * target + ctx.smoothing / logp.shape[-1]
        return g * (logp.exp() - target) / logp.shape[0], None, None


class SmoothingForgotten(SmoothedEntropy):
    """The backward of the cross entropy without smoothing."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        logp, target = ctx.saved_tensors
        return g * (logp.exp() - target) / logp.shape[0], None, None


class LabelColumnLost(SmoothedEntropy):
    """No gradient for the first class."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        logits, _, _ = SmoothedEntropy.backward(ctx, g)
        assert logits is not None
        return torch.cat([torch.zeros_like(logits[:, :1]), logits[:, 1:]], 1), None, None


class Criterion(nn.Module):
    """The smoothed cross entropy as a module; usable as the loss of a target and inside a model."""

    def __init__(self, smoothing: float = 0.0, function: type[Function] = SmoothedEntropy) -> None:
        super().__init__()
        self.smoothing, self.function = smoothing, function

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.function.apply(logits, labels, self.smoothing)


class WithLoss(nn.Module):
    """A classifier that returns its loss, as language models do."""

    def __init__(self, criterion: nn.Module) -> None:
        super().__init__()
        self.body, self.criterion = nn.Sequential(nn.Linear(4, 5), nn.Mish(), nn.Linear(5, 3)), criterion

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.criterion(self.body(x), labels)


def classifier(function: type[Function]) -> Facts:
    """The loss in question is the module ``criterion``."""
    return facts(WithLoss(Criterion(function=function)), torch.randn(5, 4), torch.randint(3, (5,)))


class Divergence(Function):
    """``KL(N(mean, exp(logvar)) ‖ N(0, 1))``, summed over features, mean over rows."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, logvar: Tensor) -> Tensor:
        ctx.save_for_backward(mean, logvar)
        return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum(-1).mean()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        mean, logvar = ctx.saved_tensors
        return g * mean / len(mean), g * 0.5 * (logvar.exp() - 1) / len(mean)


class UpstreamIgnored(Divergence):
    """Right only where the gradient that comes in is one."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return Divergence.backward(ctx, torch.ones_like(g))


class HalfForgotten(Divergence):
    """The variance's gradient without its one half."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        mean, logvar = Divergence.backward(ctx, g)
        assert logvar is not None
        return mean, 2 * logvar


class Prior(nn.Module):
    """The divergence as a module."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, mean: Tensor, logvar: Tensor) -> Tensor:
        return self.function.apply(mean, logvar)


class Autoencoder(nn.Module):
    """Variational autoencoder that returns reconstruction plus ``beta`` times divergence; noise is an input."""

    def __init__(self, function: type[Function], beta: float = 1.0) -> None:
        super().__init__()
        self.encoder, self.decoder, self.prior, self.beta = nn.Linear(4, 4), nn.Linear(2, 4), Prior(function), beta

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        mean, logvar = self.encoder(x).chunk(2, -1)
        back = self.decoder(mean + torch.exp(0.5 * logvar) * noise)
        return (back - x).square().sum(-1).mean() + self.beta * self.prior(mean, logvar)


def autoencoder(function: type[Function]) -> Facts:
    """The divergence is ``prior``; its upstream gradient is one."""
    return facts(Autoencoder(function), torch.randn(3, 4), torch.randn(3, 2), targets=None, loss=lambda output, targets: output)


class Contrast(nn.Module):
    """InfoNCE with a learnt temperature, in the bug read as a number."""

    def __init__(self, *, item: bool) -> None:
        super().__init__()
        self.log_temperature, self.item = nn.Parameter(torch.tensor(-0.7)), item

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        temperature: Any = self.log_temperature.exp()
        if self.item:
            temperature = temperature.item()
        similarity = functional.normalize(a, dim=-1) @ functional.normalize(b, dim=-1).t()
        return functional.cross_entropy(similarity / temperature, torch.arange(len(a)))


class TwoTowers(nn.Module):
    """Two encoders and their contrast."""

    def __init__(self, *, item: bool) -> None:
        super().__init__()
        self.left, self.right, self.contrast = nn.Linear(3, 4), nn.Linear(2, 4), Contrast(item=item)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.contrast(self.left(a), self.right(b))


class Penalized(nn.Module):
    """Critic loss with a gradient penalty, in the bug computed without a graph for it."""

    def __init__(self, *, graph: bool) -> None:
        super().__init__()
        self.critic, self.graph = nn.Sequential(nn.Linear(3, 4), nn.Softplus(), nn.Linear(4, 1)), graph

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            point = x if x.requires_grad else x.detach().requires_grad_()
            score = self.critic(point).sum()
            (slope,) = torch.autograd.grad(score, point, create_graph=self.graph, retain_graph=True)
        return score / len(x) + 10 * (slope.norm(dim=1) - 1).square().mean()


def critic(*, graph: bool) -> Facts:
    """The penalty is computed by the model itself."""
    return facts(Penalized(graph=graph), torch.randn(4, 3))


def towers(*, item: bool) -> Facts:
    """The contrast is ``contrast``."""
    return facts(TwoTowers(item=item), torch.randn(4, 3), torch.randn(4, 2))


def _case(name: str, bug: Any, twin: Any, module: str, **rest: Any) -> Case:
    return Case(**({"id": f"losses/{name}", "trigger": "always", "bug": bug, "twin": twin, "module": module} | rest))


right = partial(classifier, SmoothedEntropy)
CASES = (
    _case("first-class-lost", partial(classifier, LabelColumnLost), right, "criterion", function="LabelColumnLost"),
    _case("smoothing-forgotten", partial(classifier, SmoothingForgotten), right, "criterion", function="SmoothingForgotten",
          trigger="hyper-parameter", needs="configuration", witness=setting("criterion", smoothing=0.2)),
    _case("upstream-ignored", partial(autoencoder, UpstreamIgnored), partial(autoencoder, Divergence), "prior",
          function="UpstreamIgnored", trigger="cotangent magnitude", needs="configuration", witness=setting("", beta=0.25)),
    _case("divergence-half", partial(autoencoder, HalfForgotten), partial(autoencoder, Divergence), "prior", function="HalfForgotten",
          relative_size=0.3),
    _case("temperature-as-number", partial(towers, item=True), partial(towers, item=False), "contrast", parameter="log_temperature"),
    _case("penalty-without-graph", partial(critic, graph=False), partial(critic, graph=True), ""),
)
