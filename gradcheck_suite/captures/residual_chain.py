"""Declared chains of residual blocks x + W₂ φ(W₁ x), read from the architecture of a structure."""

from dataclasses import dataclass

import numpy as np

from gradcheck_suite.captures.gradient_norm_draws import GradientNormDraws
from gradcheck_suite.captures.structure import Structure
from gradcheck_suite.core.architecture import Layer
from gradcheck_suite.core.errors import NotApplicable

_SLOPES = {"relu": 0.0, "leaky_relu": 0.01, "prelu": 0.25}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualChain:
    """L blocks of one width, and perhaps one dense layer behind them.

    Attributes:
        width: n.
        hidden: units inside each block (L).
        slopes: negative slope of each block's rectifier (L).
        first: measured variance of each block's first weight (L).
        second: of its second weight (L).
        head: measured variance of the dense layer behind the blocks, 0 where there is none.
        paths: the blocks' modules (L).
    """

    width: int
    hidden: tuple[int, ...]
    slopes: tuple[float, ...]
    first: tuple[float, ...]
    second: tuple[float, ...]
    head: float
    paths: tuple[str, ...]

    @property
    def gains(self) -> np.ndarray:
        """β² of each block: the branch's squared gain, n v₁ · h v₂ · (1 + a²)/2 (L)."""
        n, h, a = self.width, np.array(self.hidden), np.array(self.slopes)
        result: np.ndarray = n * np.array(self.first) * h * np.array(self.second) * (1 + a**2) / 2
        return result


def residual_chain(structure: Structure, draws: GradientNormDraws) -> ResidualChain:
    """The chain.

    Raises:
        NotApplicable: the model was not declared as one; the text is the fact that stands against it.
    """
    architecture = structure.architecture
    if architecture is None:
        raise NotApplicable("the model was not built from a declared architecture")
    if len(architecture.input_shape) != 1 or architecture.vocabulary:
        raise NotApplicable("the input is not a vector")
    if structure.initialization == "orthogonal":
        raise NotApplicable("orthogonal weights are not independent entries")
    layers, head = list(architecture.layers), 0.0
    if len(layers) > 1 and layers[-1].kind == "dense":
        head = _square(f"{len(layers) - 1}.weight", draws)
        layers.pop()
    blocks = [_block(one, path) for path, one in enumerate(layers)]
    columns = [[_square(f"{path}.{inner}.weight", draws) for path in range(len(blocks))] for inner in (0, 2)]
    return ResidualChain(
        width=architecture.input_shape[0], hidden=tuple(units for units, _ in blocks), slopes=tuple(slope for _, slope in blocks),
        first=tuple(columns[0]), second=tuple(columns[1]), head=head, paths=tuple(str(path) for path in range(len(blocks))),
    )


def _block(one: Layer, path: int) -> tuple[int, float]:
    kinds = [inner.kind for inner in one.layers]
    if one.kind != "residual" or len(kinds) != 3 or kinds[0] != "dense" or kinds[1] not in _SLOPES or kinds[2] != "dense":
        raise NotApplicable(f"module {path} is not a residual block of dense layer, rectifier and dense layer")
    return int(str(one.layers[0].option("units"))), float(str(one.layers[1].option("slope", _SLOPES[kinds[1]])))


def _square(name: str, draws: GradientNormDraws) -> float:
    if name not in draws.weights:
        raise NotApplicable(f"there is no weight {name}")
    return float(draws.weight_square[:, draws.weights.index(name)].mean())
