"""Random directions and cotangents: slices of one shared pool, made from a seed, never from the global generators."""

import random
from typing import Final

import torch

_PERIODS: Final = (4093, 65521)  # primes: no shape of a tensor has them as a stride, so no two rows get the same draw
_LARGEST: Final = 1 << 22
_ALIGNED: Final = 16


class Draws:
    """Entries of random sign and size uniform in [0.5, 1.5].

    No entry is near zero, so a single wrong entry of a gradient is never multiplied by nearly nothing, and none is 1, so a
    backward pass that ignores its incoming gradient is seen. Tensors are views of a shared pool at random offsets and must
    not be written to. The pool repeats itself with a prime period; making one is dear, copying is not.
    """

    def __init__(self, seed: int) -> None:
        self._seed, self._random = seed, random.Random(seed)
        self._pools: dict[torch.dtype, torch.Tensor] = {}
        self._periods: dict[int, torch.Tensor] = {}

    def like(self, tensor: torch.Tensor) -> torch.Tensor:
        """A draw of the tensor's shape, dtype and device."""
        if tensor.is_complex():
            real = torch.empty((*tensor.shape, 2), dtype=tensor.real.dtype, device="meta")
            return torch.view_as_complex(self._take(real.numel(), real.dtype).reshape(real.shape).clone()).to(tensor.device)
        draw = self._take(tensor.numel(), tensor.dtype).view(tensor.shape)
        return draw if tensor.device.type == "cpu" else draw.to(tensor.device)

    def _take(self, count: int, dtype: torch.dtype) -> torch.Tensor:
        pool = self._pools.get(dtype)
        if pool is None or pool.numel() < count + _PERIODS[0]:
            pool = self._grown(count, dtype)
        room = pool.numel() - count
        if room < 0:
            offset = self._random.randrange(_PERIODS[1])
            return pool.roll(-offset).repeat(-(-count // pool.numel()))[:count]
        offset = self._random.randrange(room // _ALIGNED) * _ALIGNED if room >= _ALIGNED else 0  # a view as complex needs even offsets
        return pool[offset : offset + count]

    def _grown(self, count: int, dtype: torch.dtype) -> torch.Tensor:
        period = _PERIODS[0] if count < 4 * _PERIODS[0] else _PERIODS[1]
        values = self._periods.get(period)
        if values is None:
            generator = torch.Generator().manual_seed(self._seed % (1 << 63))
            values = torch.empty(period, dtype=torch.float64).uniform_(-1.0, 1.0, generator=generator)
            values.add_(values.sign().mul_(0.5))
            self._periods[period] = values
        wanted = min(count + period, max(_LARGEST, period))
        pool = values.to(dtype).repeat(-(-wanted // period))
        self._pools[dtype] = pool
        return pool
