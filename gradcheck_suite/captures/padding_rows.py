"""The gradient of the row that an embedding keeps for padding, for the subject's own objective."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddingRows:
    """M embeddings (``nn.Embedding``, ``nn.EmbeddingBag``) with a padding index, whose table is looked up by their own calls alone.

    Attributes:
        paths: modules (M).
        kinds: class names (M).
        index: the padding index (M), int64.
        calls: number of calls (M), int64.
        padded: how often the padding index was among the indices (M), int64.
        largest: the largest absolute value in the gradient of that row (M).
        table: the largest absolute value in the gradient of the whole table (M).
    """

    paths: tuple[str, ...]
    kinds: tuple[str, ...]
    index: np.ndarray
    calls: np.ndarray
    padded: np.ndarray
    largest: np.ndarray
    table: np.ndarray
