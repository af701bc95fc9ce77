"""Rows of gradients: leaf layers' outputs in order of execution, inputs, parameters; and which row a fault points at."""

from collections.abc import Sequence
from dataclasses import dataclass

from gradcheck_suite.core.evidence import Where


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Names of R tensors whose gradients are compared.

    Attributes:
        names: module path of a leaf layer, ``input[0]``, or the dotted name of a parameter (R).
        roles: ``layer``, ``input`` or ``parameter`` (R).
        kinds: class or function name of a leaf layer, else empty (R).
        replayed: paths of modules that the backward pass calls again (checkpointed regions).
    """

    names: tuple[str, ...]
    roles: tuple[str, ...]
    kinds: tuple[str, ...]
    replayed: tuple[str, ...] = ()

    def suspect(self, wrong: Sequence[bool]) -> Where:
        """Where the backward pass goes wrong, given the rows whose gradient does.

        Gradients travel from the last layer to the first: the layer behind the last wrong one turned a right gradient into a wrong
        one. Where no layer's gradient is wrong, it is the first wrong parameter's own. A layer that the backward pass runs again
        is right or wrong by how that is done: the module that runs it is named.
        """
        where = self._nearest(wrong)
        if where.module not in self.replayed:
            return where
        module = where.module or ""
        while module in self.replayed and module:
            module = module.rpartition(".")[0]
        return Where(module=module)

    def _nearest(self, wrong: Sequence[bool]) -> Where:
        """The place by the rows alone."""
        layers = [index for index, role in enumerate(self.roles) if role == "layer"]
        bad = [position for position, index in enumerate(layers) if wrong[index]]
        if bad:
            culprit = layers[min(bad[-1] + 1, len(layers) - 1)]
            return Where(module=self.names[culprit], function=self.kinds[culprit] or None)
        for index, role in enumerate(self.roles):
            if wrong[index] and role == "parameter":
                module, _, parameter = self.names[index].rpartition(".")
                return Where(module=module, parameter=parameter)
        if layers and any(wrong):
            return Where(module=self.names[layers[0]], function=self.kinds[layers[0]] or None)
        return Where(module="")
