"""Blocks that are the identity because a weight in their branch is zero, each alone with a random cotangent."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityBlocks:
    """M modules whose output equals their input bit for bit and that hold a weight which is zero throughout.

    Attributes:
        paths: modules (M).
        zeros: a weight of each that is zero (M).
        entries: of the input (M), int64.
        bits: bits in which the gradient at the input differs from the cotangent (M), int64.
        norms: norm of that gradient over the cotangent's (M).
    """

    paths: tuple[str, ...]
    zeros: tuple[str, ...]
    entries: np.ndarray
    bits: np.ndarray
    norms: np.ndarray
