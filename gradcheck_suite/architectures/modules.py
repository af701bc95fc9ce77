"""The modules that ``torch.nn`` lacks. They need nothing but torch, for ``to_python`` prints them as they stand here."""

import torch
from torch import nn


class Residual(nn.Sequential):
    """x + f(x) for the layers f inside."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus the branch, shapes alike."""
        branch: torch.Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return x + branch


class Repeated(nn.Sequential):
    """f(f(...f(x))) for the layers f inside, all with the same weights."""

    def __init__(self, *layers: nn.Module, times: int) -> None:
        super().__init__(*layers)
        self.times = times

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layers applied again and again, shape kept."""
        for _ in range(self.times):
            x = super().forward(x)  # type: ignore[no-untyped-call]
        return x


class Concatenate(nn.Sequential):
    """x and f(x) side by side on one axis (counted with the batch axis)."""

    def __init__(self, *layers: nn.Module, axis: int) -> None:
        super().__init__(*layers)
        self.axis = axis

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input followed by the branch along the axis."""
        return torch.cat([x, super().forward(x)], self.axis)  # type: ignore[no-untyped-call]


class RNN(nn.RNN):
    """``nn.RNN`` that returns the states at every step, (batch, time, features), and nothing else."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """The states at every step."""
        return super().forward(x)[0]


class LSTM(nn.LSTM):
    """``nn.LSTM`` that returns the states at every step, (batch, time, features), and nothing else."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """The states at every step."""
        return super().forward(x)[0]


class GRU(nn.GRU):
    """``nn.GRU`` that returns the states at every step, (batch, time, features), and nothing else."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """The states at every step."""
        return super().forward(x)[0]


def future(time: int, device: torch.device) -> torch.Tensor:
    """The mask of a causal layer, (time, time): True where a position must not look."""
    return torch.ones(time, time, dtype=torch.bool, device=device).triu(1)


class SelfAttention(nn.MultiheadAttention):
    """``nn.MultiheadAttention`` of a sequence (batch, time, features) to itself."""

    def __init__(self, features: int, heads: int, causal: bool) -> None:
        super().__init__(features, heads, batch_first=True)
        self.causal = causal

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """What each position gathers, shape kept."""
        mask = future(x.shape[1], x.device) if self.causal else None
        return super().forward(x, x, x, need_weights=False, attn_mask=mask)[0]


class Encoder(nn.TransformerEncoderLayer):
    """``nn.TransformerEncoderLayer`` without dropout, causal on demand."""

    def __init__(self, features: int, heads: int, hidden: int, *, norm_first: bool, causal: bool) -> None:
        super().__init__(features, heads, hidden, dropout=0.0, batch_first=True, norm_first=norm_first)
        self.causal = causal

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Attention and feed-forward branch, shape kept."""
        return super().forward(x, src_mask=future(x.shape[1], x.device) if self.causal else None)


class LastStep(nn.Module):
    """The features of the last position in time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, time, features) to (batch, features)."""
        return x[:, -1]


class MeanOverTime(nn.Module):
    """The mean over the positions in time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, time, features) to (batch, features)."""
        return x.mean(1)


class GlobalAveragePool(nn.Module):
    """The mean over all positions of each channel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels, ...) to (batch, channels)."""
        return x.flatten(2).mean(2)
