"""What a model is made of, as seen by running it once."""

import math
from dataclasses import dataclass

from gradcheck_suite.core.architecture import Architecture


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFact:
    """One module: dotted path (``""`` is the model), class name, parameters of its own (not of its children), mode."""

    path: str
    class_name: str
    parameters: int
    trainable: int
    training: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One step of a plain chain.

    Attributes:
        path: module path; for a functional call, the path of the module whose ``forward`` made it.
        kind: the grammar's name (``dense``, ``conv2d``, ``relu``, ...).
        settings: options that matter to its law (slope, stride, padding, groups, ...).
        input_shape: of one sample, without the batch axis.
        output_shape: likewise.
        fan_in: inputs summed by one output (0 for a step without weights).
        fan_out: outputs fed by one input, as torch counts it.
        bias: ``absent``, ``zero`` or ``nonzero``.
        plain: weight neither parametrised nor frozen, and no hook of the user's on the module.
    """

    path: str
    kind: str
    settings: tuple[tuple[str, bool | int | float | str | tuple[int, ...]], ...] = ()
    input_shape: tuple[int, ...] = ()
    output_shape: tuple[int, ...] = ()
    fan_in: int = 0
    fan_out: int = 0
    bias: str = "absent"
    plain: bool = True

    @property
    def slope(self) -> float:
        """Negative slope of a rectifier (0 for ReLU), NaN for any other step."""
        return float(dict(self.settings).get("slope", math.nan))  # type: ignore[arg-type]

    @property
    def weighted(self) -> bool:
        """Whether the step multiplies by a weight matrix."""
        return self.fan_in > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """A model's parts and, where it is a plain chain, its steps.

    Attributes:
        modules: every module once.
        parameters: number of parameter entries, tied ones once.
        trainable: those that require a gradient.
        order: paths of the leaf modules in order of execution, repeats included (a leaf calls no other module).
        chain: the steps in order where each takes the previous step's output and nothing else; else empty.
        outside: why the model is not a plain chain, as a fact; empty where it is one.
        dtype: of the parameters; several are joined by commas.
        training: mode of the model itself.
        initialization: declared name, where the subject was built from an architecture.
        architecture: that architecture.
    """

    modules: tuple[ModuleFact, ...]
    parameters: int
    trainable: int
    order: tuple[str, ...]
    chain: tuple[Unit, ...]
    outside: str
    dtype: str
    training: bool
    initialization: str | None = None
    architecture: Architecture | None = None

    def harmless(self, log_square: float, epsilon: float) -> str | None:
        """The fact that a deviation from a law that nobody declared does no harm, or ``None``.

        ``log_square`` is the change of the logarithm of a squared gradient norm, ``epsilon`` that of its dtype: it is harmless while the
        norm changes by less than half of the digits. Networks of a few layers with PyTorch's default initialisation are in daily use.
        """
        if self.architecture is not None or abs(log_square) > -math.log(epsilon):
            return None
        return (f"no law is declared, and the gradient's norm changes by 10^{log_square / 2 / math.log(10):.1f}, less than half of its "
                "digits: a deviation from the critical law does no harm")

    @property
    def weights(self) -> tuple[Unit, ...]:
        """The chain's steps with weights, in order."""
        return tuple(unit for unit in self.chain if unit.weighted)
