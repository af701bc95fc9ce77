"""Random directions and cotangents: slices of one shared pool, made from a seed, never from the global generators."""

import random
from typing import Final

import torch

_FIRST: Final = 1 << 16
_LARGEST: Final = 1 << 22
_SLACK: Final = 4099
_ALIGNED: Final = 16


class Draws:
    """Entries of random sign and size uniform in [0.5, 1.5].

    No entry is near zero, so a single wrong entry of a gradient is never multiplied by nearly nothing, and none is 1, so a
    backward pass that ignores its incoming gradient is seen. Tensors are views of a shared pool at random offsets: they
    must not be written to; ``spoiled`` says that somebody did, and the pool is made again.
    """

    def __init__(self, seed: int) -> None:
        self._seed, self._random = seed, random.Random(seed)
        self._pools: dict[torch.dtype, torch.Tensor] = {}

    def like(self, tensor: torch.Tensor) -> torch.Tensor:
        """A draw of the tensor's shape, dtype and device."""
        if tensor.is_complex():
            real = torch.empty((*tensor.shape, 2), dtype=tensor.real.dtype, device="meta")
            return torch.view_as_complex(self._take(real.numel(), real.dtype).reshape(real.shape).clone()).to(tensor.device)
        draw = self._take(tensor.numel(), tensor.dtype).view(tensor.shape)
        return draw if tensor.device.type == "cpu" else draw.to(tensor.device)

    def spoiled(self) -> None:
        """Forget the pools: a view was written to."""
        self._pools.clear()

    def _take(self, count: int, dtype: torch.dtype) -> torch.Tensor:
        pool = self._pool(count, dtype)
        room = pool.numel() - count
        if room < 0:
            offset = self._random.randrange(pool.numel())
            tiled = pool.roll(-offset).repeat(-(-count // pool.numel()))
            return tiled[:count]
        offset = self._random.randrange(room // _ALIGNED) * _ALIGNED if room >= _ALIGNED else 0  # a view as complex needs even offsets
        return pool[offset : offset + count]

    def _pool(self, count: int, dtype: torch.dtype) -> torch.Tensor:
        pool = self._pools.get(dtype)
        wanted = min(count + _SLACK, _LARGEST - 1)
        if pool is None or pool.numel() < wanted:
            generator = torch.Generator().manual_seed(self._seed % (1 << 63))
            size = max(wanted, _FIRST)
            values = torch.rand(size, generator=generator, dtype=torch.float64) * 2 - 1
            pool = (torch.copysign(values.abs() + 0.5, values)).to(dtype)
            self._pools[dtype] = pool
        return pool
