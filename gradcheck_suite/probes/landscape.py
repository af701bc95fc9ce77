"""The loss as a function of the parameters alone: buffers, generators and what modules remember begin from the same at every point."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable, SubjectError
from gradcheck_suite.probes.curvature import Hessian, hessian
from gradcheck_suite.probes.directional_derivative.signatures import difference, signature
from gradcheck_suite.probes.execution import realise
from gradcheck_suite.probes.experiment import Experiment, require_loss
from gradcheck_suite.probes.float64 import in_float64
from gradcheck_suite.probes.state import Guard, preserved
from gradcheck_suite.subject import Setup, Subject

Tensor = torch.Tensor
Choices = list[tuple[str, Tensor]]
_STEPS = (1e-5, 1e-7, 1e-9)
# A gradient that is off by less than this share of its length along some direction is taken for right.
_RIGHT = 1e-6
_LARGEST = 4_000_000


class Landscape:
    """The loss of a setup in float64 over the flat vector (n) of the parameters that its gradient depends on.

    Raises:
        NotApplicable: see ``curvature.hessian``; or there are more than four million parameters.
        SubjectError: the subject failed.
    """

    def __init__(self, setup: Setup, guard: Guard, seed: int) -> None:
        self._setup, self._guard, self._seed = setup, guard, seed
        self._run = Experiment(replace(setup, optimizer=None), seed)
        self._parameters: list[nn.Parameter] = []
        guard.rewind()
        first = hessian(self._run)
        if first.gradient.numel() > _LARGEST:
            raise NotApplicable(f"{first.gradient.numel()} parameters: too many for vectors of all of them")
        self._parameters = first.parameters
        self.start = torch.cat([p.detach().flatten() for p in self._parameters])

    def place(self, point: Tensor) -> None:
        """Put the model where it began, with these parameters."""
        self._guard.rewind()
        with torch.no_grad():
            for part, parameter in zip(torch.split(point, [p.numel() for p in self._parameters]), self._parameters, strict=True):
                parameter.copy_(part.view_as(parameter))

    def loss(self, point: Tensor) -> float:
        """The loss, with a graph: a model may differentiate within its forward pass.

        Raises:
            NotApplicable: the model or the loss raises at this point.
        """
        self.place(point)
        try:
            return float(self._run.loss().detach())
        except SubjectError as failure:
            raise NotApplicable(f"the model does not run with parameters next to its own: {str(failure)[:120]}") from None

    def derivatives(self, point: Tensor) -> Hessian:
        """Loss, gradient and Hessian.

        Raises:
            NotApplicable: there is no finite second derivative, it says of itself that it is none, or it depends on other parameters.
        """
        self.place(point)
        found = hessian(self._run)
        if [id(p) for p in found.parameters] != [id(p) for p in self._parameters]:
            raise NotApplicable("the gradient depends on other parameters at another point")
        return found

    def slope(self, point: Tensor, direction: Tensor) -> float:
        """The gradient's product with a direction.

        Raises:
            NotApplicable: the model raises there, or the gradient cannot be taken.
        """
        self.place(point)
        try:
            found = torch.autograd.grad(self._run.loss(), self._parameters, allow_unused=True)
        except (SubjectError, RuntimeError) as failure:
            raise NotApplicable(f"no gradient next to the start: {str(failure)[:120]}") from None
        parts = torch.split(direction, [p.numel() for p in self._parameters])
        return sum(float(g.flatten() @ part) for g, part in zip(found, parts, strict=True) if g is not None)

    def mixed(self, point: Tensor, one: Tensor, other: Tensor, size: float) -> float:
        """oneᵀ H other for unit vectors, by a difference of four losses at this distance: no derivative has a part in it.

        Raises:
            NotApplicable: the model raises there.
        """
        corners = [self.loss(point + size * (a * one + b * other)) for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
        return (corners[0] - corners[1] - corners[2] + corners[3]) / (4 * size * size)

    def stepped(self, point: Tensor, rate: float) -> Tensor:
        """Where one step of ``torch.optim.SGD`` leads, gradients made by ``backward`` as in a training."""
        self.place(point)
        run = Experiment(replace(self._setup, optimizer=lambda _: torch.optim.SGD(self._parameters, lr=rate)), self._seed)
        run.gradients()
        run.step()
        return torch.cat([p.detach().flatten() for p in self._parameters])

    def choices(self, point: Tensor) -> Choices:
        """Every discrete choice of forward pass and loss (which side of a kink): where none changes, the loss is smooth."""
        return signature(self._at(point))

    def same_choices(self, known: Choices, point: Tensor) -> bool:
        """Whether all choices are those known; not where the model raises."""
        try:
            return difference(known, self._at(point)) is None
        except NotApplicable:
            return False

    def is_smooth(self, centre: Tensor, displacement: Tensor) -> bool:
        """Whether no discrete choice differs on the two sides of a point."""
        known = self.choices(centre)
        return all(self.same_choices(known, centre + sign * displacement) for sign in (1, -1))

    def _at(self, point: Tensor) -> Callable[[], float]:
        return lambda: self.loss(point)

    def require_gradient(self, there: Hessian, *directions: Tensor) -> None:
        """Raise ``NotApplicable`` unless the gradient at the start is the slope of the loss along unit vectors, by central differences.

        A model that stops gradients on purpose has another gradient: no statement on its curvature follows from that one.
        """
        length = float(there.gradient.norm())
        around = max(1.0, float(self.start.norm()))
        for direction in directions:
            slopes = []
            step = next((part * around for part in _STEPS if self.is_smooth(self.start, part * around * direction)), None)
            if step is None:
                raise NotApplicable("a kink of the loss lies at the start")
            for size in (step, step / 2):
                rise = self.loss(self.start + size * direction) - self.loss(self.start - size * direction)
                slopes.append(rise / (2 * size))
            gap, spread = abs(slopes[1] - float(there.gradient @ direction)), abs(slopes[0] - slopes[1])
            if not spread <= 100 * _RIGHT * length:
                raise NotApplicable("differences of the loss are too coarse to tell whether the gradient is its slope")
            if gap > _RIGHT * length + 2 * spread:
                raise NotApplicable("the gradient is not the slope of the loss to six digits: see backprop-agreement, precision-islands")


@contextmanager
def surveyed(subject: Subject, budget: Budget, seed: int, passes: int) -> Iterator[Landscape]:
    """The landscape of a realisation of the subject, whose model is put back at the end.

    Raises:
        NotApplicable: the subject has no loss, it does not run in float64, see ``Landscape``; or the budget has no room for so many
            passes: for a model of one's own second derivatives are for a thorough one.
        SubjectError: the subject failed.
    """
    if subject.architecture is None and not budget.second_order:
        raise NotApplicable(f"the budget {budget.name!r} leaves it out: it costs about {passes} passes")
    setup = realise(subject, seed)
    require_loss(setup)
    with in_float64(setup) as wide, sdpa_kernel([SDPBackend.MATH]), preserved(wide.model) as guard:
        yield Landscape(wide, guard, seed)
