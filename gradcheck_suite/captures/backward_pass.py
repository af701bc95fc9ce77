"""One forward and backward pass, layer by layer."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Producer:
    """The first operation with finite inputs and a result that is not finite.

    ``phase`` is ``forward`` or ``backward``; ``module`` the innermost module it belongs to (``None``: unknown, ``""``: the model
    itself or code outside it); ``operation`` its name; ``source`` the user's line that called it, as ``file:line``, or ``None``.
    """

    phase: str
    operation: str
    module: str | None
    source: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackwardPass:
    """Statistics of C calls of leaf layers in order of execution, and of P parameters. Every quantity has unit 1.

    A leaf layer is a module that calls no other, or a known activation called as a function. Root mean squares are taken
    over all entries of all floating outputs; shares are fractions of entries; NaN says that there was nothing to measure.

    Attributes:
        paths: module path of each call (C).
        kinds: class or function name (C).
        entries: number of floating output entries (C), int64.
        activation_rms: of the outputs (C).
        activation_zeros: share of exact zeros among them (C).
        activation_nonfinite: count (C), int64.
        gradient_rms: of the gradient with respect to the outputs (C); NaN where none arrived.
        gradient_zeros: share of exact zeros (C).
        gradient_nonfinite: count (C), int64.
        slope: for an elementwise activation, the root mean square of |φ'(x)|/sup|φ'| over entries (C); else NaN.
        saturated: share of its units whose mean of |φ'|/sup|φ'| over the batch is below ``SATURATION`` (C); else NaN.
        dead: share of its units with φ' exactly 0 for the whole batch (C); else NaN.
        units: number of its units: entries of one sample (C), int64; 0 for any other layer.
        channels: how many of its units have weights of their own (C), int64: the positions of an image or a sequence share theirs.
        parameters: dotted names (P).
        parameter_rms: values (P).
        parameter_zeros: share of exact zeros (P).
        parameter_gradient_rms: (P); NaN where the gradient is ``None``.
        parameter_gradient_zeros: (P).
        parameter_gradient_nonfinite: count (P), int64; -1 where the gradient is ``None``.
        objective: the differentiated scalar.
        input_gradient_rms: over all floating inputs; NaN where there are none.
        input_gradient_nonfinite: count.
        given_nonfinite: count among the inputs, targets, parameters and buffers before the pass.
        epsilon: distance from 1 to the next number in the parameters' widest dtype.
        alpha: bound on the false-alarm rate of a statement about this pass.
        producer: of the first value that is not finite, where a result or gradient is not finite.
    """

    paths: tuple[str, ...]
    kinds: tuple[str, ...]
    entries: np.ndarray
    activation_rms: np.ndarray
    activation_zeros: np.ndarray
    activation_nonfinite: np.ndarray
    gradient_rms: np.ndarray
    gradient_zeros: np.ndarray
    gradient_nonfinite: np.ndarray
    slope: np.ndarray
    saturated: np.ndarray
    dead: np.ndarray
    units: np.ndarray
    channels: np.ndarray
    parameters: tuple[str, ...]
    parameter_rms: np.ndarray
    parameter_zeros: np.ndarray
    parameter_gradient_rms: np.ndarray
    parameter_gradient_zeros: np.ndarray
    parameter_gradient_nonfinite: np.ndarray
    objective: float
    input_gradient_rms: float
    input_gradient_nonfinite: int
    given_nonfinite: int
    epsilon: float
    alpha: float
    producer: Producer | None = None


SATURATION = 0.05
