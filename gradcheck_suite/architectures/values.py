"""Regimes of an input's values by name. The functions need nothing but torch, for ``to_python`` prints them as they stand here.

Each takes the shape, the batch axis included, and a generator; numbers come in float64, tokens in int64.
"""

from types import MappingProxyType

import torch


def normal(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Standard normal."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def large(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Normal with standard deviation 1000."""
    return 1e3 * normal(shape, generator)


def tiny(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Normal with standard deviation 1e-6."""
    return 1e-6 * normal(shape, generator)


def zeros(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Zeros."""
    return torch.zeros(shape, dtype=torch.float64)


def integers(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Uniform on -3, ..., 3."""
    return torch.randint(-3, 4, shape, generator=generator).double()


def ties(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Two numbers only, so that most values are equal to others."""
    return normal((2,), generator)[torch.randint(0, 2, shape, generator=generator)]


def one_hot(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """A single 1 on the last axis, the rest zero."""
    places = torch.randint(0, shape[-1], shape[:-1], generator=generator)
    return torch.nn.functional.one_hot(places, shape[-1]).double()


def masked(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Standard normal with about half of the entries set to zero."""
    return normal(shape, generator) * torch.randint(0, 2, shape, generator=generator)


def tokens(shape: tuple[int, ...], vocabulary: int, generator: torch.Generator) -> torch.Tensor:
    """Uniform on the vocabulary."""
    return torch.randint(0, vocabulary, shape, generator=generator)


def zeros_tokens(shape: tuple[int, ...], vocabulary: int, generator: torch.Generator) -> torch.Tensor:
    """Token 0 everywhere."""
    return torch.zeros(shape, dtype=torch.int64)


def ties_tokens(shape: tuple[int, ...], vocabulary: int, generator: torch.Generator) -> torch.Tensor:
    """One token repeated over each sample."""
    return tokens((shape[0], 1), vocabulary, generator).expand(shape).contiguous()


def masked_tokens(shape: tuple[int, ...], vocabulary: int, generator: torch.Generator) -> torch.Tensor:
    """Uniform on the vocabulary, with about half of the positions set to token 0."""
    return tokens(shape, vocabulary, generator) * torch.randint(0, 2, shape, generator=generator)


VALUES = MappingProxyType({
    "normal": normal, "large": large, "tiny": tiny, "zeros": zeros, "integers": integers, "ties": ties, "one-hot": one_hot,
    "masked": masked,
})  # fmt: skip
TOKENS = MappingProxyType(dict.fromkeys(VALUES, tokens) | {"zeros": zeros_tokens, "ties": ties_tokens, "masked": masked_tokens})
