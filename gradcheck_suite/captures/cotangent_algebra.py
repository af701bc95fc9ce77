"""How the gradient answers to multiples and sums of cotangents, on one recorded graph."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradcheck_suite.captures.gradient_rows import Rows
from gradcheck_suite.core.evidence import Where


@dataclass(frozen=True, slots=True, kw_only=True)
class CotangentAlgebra:
    """Gradients g(U), g(V), g(2^k U) and g(3U + V) of R tensors, U and V standard normal cotangents of all floating outputs.

    Attributes:
        rows: what the R tensors are.
        exponents: the powers k that were tried.
        bits: number of bits in which g(2^k U) differs from 2^k g(U), over all k (R), int64; 0 where the model is narrower than
            float64, runs in float64 and shows no difference there, and where the matrix exponential's backward pass alone makes it.
        entries: number of entries (R), int64.
        subnormal: number of entries of g(U) too small to be scaled exactly (R), int64.
        residual: ||g(3U + V) - 3g(U) - g(V)|| (R).
        scale: 3||g(U)|| + ||g(V)|| (R).
        noise: the largest ||g(kW) - k g(W)|| over W in {3U, V, 3U + V} and k in {1.1, 0.7, 1.3}, per unit k (R).
        epsilon: distance from 1 to the next number in each tensor's format, or in the narrowest of the graph where that is narrower (R).
        other_residual: the residual with the model in float64 (in float32 where float64 is its own precision); NaN where it was
            not asked for, because every residual is within its tolerance, or the model does not run there (R).
        breaks: where a node of the graph received a multiple by a power of two and did not pass it on, nearest to the output first;
            empty where no bits differ, or no node can be told.
        intended: the reason declared for a mismatch at all of these nodes, or ``""``.
    """

    rows: Rows
    exponents: tuple[int, ...]
    bits: np.ndarray
    entries: np.ndarray
    subnormal: np.ndarray
    residual: np.ndarray
    scale: np.ndarray
    noise: np.ndarray
    epsilon: np.ndarray
    other_residual: np.ndarray
    breaks: tuple[Where, ...] = ()
    intended: str = ""

    def declared(self) -> str | None:
        """The fact that the owner declared what breaks the law, or ``None``."""
        return f"intended mismatch, declared: {self.intended}" if self.intended else None

    def suspect(self, wrong: Sequence[bool]) -> Where:
        """Where the backward pass goes wrong: the node that was seen to, else what the wrong rows tell.

        A module that the backward pass runs again is right or wrong by how that is done: what runs it is named by the rows.
        """
        seen = any(wrong) and self.breaks and self.breaks[0].module not in self.rows.replayed
        return self.breaks[0] if seen else self.rows.suspect(wrong)
