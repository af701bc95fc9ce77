"""Plain chains of dense layers, read from a structure, and the gradient at each of their matrices, read from draws."""

import math
from dataclasses import dataclass

import numpy as np

from gradcheck_suite.captures.gradient_norm_draws import GradientNormDraws
from gradcheck_suite.captures.structure import Structure, Unit
from gradcheck_suite.core.errors import NotApplicable

SYMMETRY = 6.0
"""Standard errors by which a mean of weights or biases may differ from zero before their law is called asymmetric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseChain:
    """L matrices one behind the other, with at most one activation behind each.

    Attributes:
        paths: modules of the matrices (L).
        widths: n_0, ..., n_L.
        activations: kind and settings behind each matrix (L); ``identity`` where there is none.
        biases: ``absent``, ``zero`` or ``nonzero`` (L).
        plain: neither parametrised, frozen nor hooked (L).
    """

    paths: tuple[str, ...]
    widths: tuple[int, ...]
    activations: tuple[Unit, ...]
    biases: tuple[str, ...]
    plain: tuple[bool, ...]

    @property
    def slopes(self) -> tuple[float, ...]:
        """Negative slopes of the rectifiers (1 for the identity, NaN for any other activation)."""
        return tuple(1.0 if unit.kind == "identity" else unit.slope for unit in self.activations)


def dense_chain(structure: Structure) -> DenseChain:
    """The chain that the model is.

    Raises:
        NotApplicable: it is none; the text is the fact that stands against it.
    """
    if structure.outside:
        raise NotApplicable(f"not a plain chain of layers: {structure.outside}")
    matrices: list[Unit] = []
    activations: list[Unit] = []
    for unit in structure.chain:
        if unit.kind in ("identity", "flatten") and not (unit.kind == "flatten" and matrices):
            continue
        if unit.kind == "dense":
            if len(unit.input_shape) != 1:
                raise NotApplicable(f"{_name(unit)} acts on {len(unit.input_shape)} axes: its weights are shared by positions")
            matrices.append(unit)
            activations.append(Unit(path=unit.path, kind="identity"))
        elif unit.kind not in _ELEMENTWISE:
            raise NotApplicable(f"{_name(unit)} is a {unit.kind}, neither dense nor an elementwise activation")
        elif not matrices or activations[-1].kind != "identity":
            raise NotApplicable(f"{_name(unit)} is an activation that does not follow a dense layer")
        else:
            activations[-1] = unit
    if not matrices:
        raise NotApplicable("the chain has no dense layer")
    return DenseChain(
        paths=tuple(unit.path for unit in matrices), widths=(matrices[0].fan_in, *(unit.fan_out for unit in matrices)),
        activations=tuple(activations), biases=tuple(unit.bias for unit in matrices), plain=tuple(unit.plain for unit in matrices),
    )


def gradients_at_matrices(chain: DenseChain, draws: GradientNormDraws) -> np.ndarray:
    """log ||∂<u, f>/∂(input of matrix l)||²/||u||², l = 1, ..., L, of the first sample (N, L).

    Raises:
        NotApplicable: the inputs carry no gradient, or the draws do not show the chain.
    """
    if np.isnan(draws.ratio).any() or draws.input_size == 0:
        raise NotApplicable("the gradient with respect to the first sample's input cannot be measured")
    columns = []
    for path in chain.paths:
        calls = zip(draws.paths, draws.kinds, strict=True)
        found = [index for index, call in enumerate(calls) if call == (path, "Linear")]
        if len(found) != 1:
            raise NotApplicable(f"module {path} did not run once in every draw")
        columns.append(draws.layer_gradient[:, found[0] - 1] if found[0] > 0 else draws.ratio)
    columns[0] = draws.ratio
    return np.array(columns).T


def asymmetry(chain: DenseChain, draws: GradientNormDraws) -> str | None:
    """The fact that a weight or bias has a mean other than zero over the draws, or ``None``."""
    for names, mean, square, entries, what in (
        (draws.weights, draws.weight_mean, draws.weight_square, draws.weight_entries, "weight"),
        (draws.biases, draws.bias_mean, draws.bias_square, draws.bias_entries, "bias"),
    ):
        for path in chain.paths:
            name = f"{path}.{what}" if path else what
            if name not in names:
                continue
            index = names.index(name)
            centre = float(mean[:, index].mean())
            error = float(np.sqrt(square[:, index].mean() / (len(mean) * entries[index])))
            if abs(centre) > SYMMETRY * error:
                return f"the entries of {name} have mean {centre:.3g}: their law is not symmetric"
    return None


def no_rectifier_chain(structure: Structure) -> str | None:
    """The fact that stands against a rectifier behind every dense layer but the last, or ``None``."""
    chain = dense_chain(structure)
    for index, (path, slope) in enumerate(zip(chain.paths, chain.slopes, strict=True)):
        if math.isnan(slope):
            return f"the activation behind module {path} is a {chain.activations[index].kind}, not a rectifier"
        if slope == 1.0 and index < len(chain.paths) - 1:
            return f"no rectifier stands behind module {path}"
    return None if any(slope != 1.0 for slope in chain.slopes) else "the chain has no rectifier"


def lawless(structure: Structure, draws: GradientNormDraws) -> str | None:
    """The fact that the first input is zero, or that an undeclared law of the weights is out of the question, or ``None``.

    Of a model whose law is not declared nothing is asked before two rectified layers multiply their factors.
    """
    if np.isnan(draws.concentration).any():
        return "the first sample of the batch is zero"
    chain = dense_chain(structure)
    if structure.architecture is not None:
        return None
    if sum(slope != 1.0 for slope in chain.slopes) < 2:
        return "one rectified layer alone: there is no depth"
    touched = [path for path, plain in zip(chain.paths, chain.plain, strict=True) if not plain]
    return f"module {touched[0]} is hooked, frozen or parametrised" if touched else asymmetry(chain, draws)


def weight_columns(chain: DenseChain, draws: GradientNormDraws) -> list[int]:
    """The column of each matrix of the chain among the draws' weights (L)."""
    return [draws.weights.index(f"{path}.weight" if path else "weight") for path in chain.paths]


def _name(unit: Unit) -> str:
    return f"module {unit.path}" if unit.path else "the model"


_ELEMENTWISE = frozenset({
    "relu", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "mish", "softplus", "tanh", "hardtanh", "sigmoid", "relu6", "softsign",
    "hardswish",
})
