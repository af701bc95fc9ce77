"""The same forward and backward pass twice, from the same state and generators, and the same backward pass twice."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedPass:
    """What differed between two runs, one row per tensor (T).

    Attributes:
        names: ``output[0]``, ``gradient of input[0]``, or the dotted name of a parameter (its gradient) (T).
        roles: ``output``, ``input`` or ``parameter`` (T).
        entries: number of entries (T), int64.
        bits: number of bits that differ between two passes from the same state (T), int64.
        relative: largest |difference| of an entry over the root mean square of the tensor (T); 0 where the bits agree.
        again_bits: number of bits that differ between two backward passes through one graph, generators running on (T),
            int64; -1 where there is none (outputs; graphs that cannot be used twice).
        again_relative: as ``relative``, for these (T).
        epsilon: distance from 1 to the next number in each tensor's format (T).
        training: mode of the model.
    """

    names: tuple[str, ...]
    roles: tuple[str, ...]
    entries: np.ndarray
    bits: np.ndarray
    relative: np.ndarray
    again_bits: np.ndarray
    again_relative: np.ndarray
    epsilon: np.ndarray
    training: bool
