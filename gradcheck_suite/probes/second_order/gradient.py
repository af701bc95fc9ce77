"""The gradient of an experiment as an experiment: its own gradient is the second derivative."""

from contextlib import AbstractContextManager

import torch

from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.experiment import DATA, INPUT, Experiment, Linearization

INCOMING = "incoming gradient"


class GradientOf(Experiment):
    """The gradients of another experiment's tensors, as functions of these tensors and of the gradient that comes in.

    ``first`` is a linearization of the other experiment: outputs and tensors that it reaches are the ones meant here.
    """

    def __init__(self, of: Experiment, first: Linearization, draws: Draws) -> None:
        super().__init__()
        self.of, self._live = of, list(first.live)
        self._reached = [index for index, gradient in enumerate(first.gradients) if gradient is not None]
        self._incoming = [draws.like(value).clone().requires_grad_() for value in first.base]
        self.tensors = [*of.tensors, *self._incoming]
        self.roles = [INPUT if role == DATA else role for role in (*of.roles, *[INPUT] * len(self._incoming))]
        self.untouched = dict(of.untouched)
        self.lifted = of.lifted
        self.detached = "always"  # a gradient that has lost its graph is what is looked for

    def names(self) -> list[str]:
        """Those of the other experiment, then the incoming gradients."""
        several = len(self._incoming) > 1
        return [*self.of.names(), *(f"{INCOMING} {number}" if several else INCOMING for number in range(len(self._incoming)))]

    def run(self) -> list[torch.Tensor]:
        """The gradients that arrive, with a graph of their own where gradients are recorded around this."""
        graph = torch.is_grad_enabled()
        with torch.enable_grad():
            outputs = self.of.run()
            chosen = [outputs[index] for index in self._live]
            wanted = [self.of.tensors[index] for index in self._reached]
            found = torch.autograd.grad(chosen, wanted, self._incoming, create_graph=graph, allow_unused=True)
        dense = [torch.zeros_like(w) if g is None else g for w, g in zip(wanted, found, strict=True)]
        return [value.to_dense() if value.is_sparse else value for value in dense]

    def reset(self) -> None:
        """Undo what a run changed in the modules."""
        self.of.reset()

    def arithmetic(self) -> AbstractContextManager[object]:
        """That of the other experiment."""
        return self.of.arithmetic()
