"""Convolutional encoders: dilation, stride, borders, kernels, resampling and pooling."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional
from torch.nn.grad import conv1d_input, conv1d_weight, conv2d_input, conv2d_weight

from .case import Case, Facts, drawn, facts, setting


class Atrous(Function):
    """Dilated convolution of ``(batch, channels, length)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return functional.conv1d(x, weight, dilation=dilation)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        back = conv1d_input(x.shape, weight, g, dilation=ctx.dilation)
        return back, conv1d_weight(x, weight.shape, g, dilation=ctx.dilation), None


class Undilated(Atrous):
    """The weight gradient reads neighbouring samples whatever the dilation."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        return Atrous.backward(ctx, g)[0], conv1d_weight(x[..., : g.shape[-1] + weight.shape[-1] - 1], weight.shape, g), None


class AtrousConv(nn.Module):
    """Dilated convolution without bias."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1, function: type[Function] = Atrous) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel) * (inputs * kernel) ** -0.5)
        self.dilation, self.function = dilation, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x, self.weight, self.dilation)


class Strided(Function):
    """Convolution with stride two of ``(batch, channels, height, width)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return functional.conv2d(x, weight, bias, stride=2, padding=1)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        back = conv2d_input(x.shape, weight, g, stride=2, padding=1)
        return back, conv2d_weight(x, weight.shape, g, stride=2, padding=1), g.sum((0, 2, 3))


class OddSideShifted(Strided):
    """Transposed convolution to twice the output's size; an odd side is cropped at the wrong end."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        full = functional.conv_transpose2d(g, weight, stride=2, padding=1, output_padding=1)
        return full[:, :, -x.shape[2] :, -x.shape[3] :], *Strided.backward(ctx, g)[1:]


class KernelTransposed(Strided):
    """Kernel gradient with height and width exchanged."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = Strided.backward(ctx, g)
        assert weight is not None
        return x, weight.transpose(2, 3), bias


class BiasPixelMean(Strided):
    """Bias gradient averaged over the pixels."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = Strided.backward(ctx, g)
        assert bias is not None
        return x, weight, bias / g[0, 0].numel()


class StridedConv(nn.Module):
    """Convolution with kernel three, stride two and padding one."""

    def __init__(self, inputs: int, outputs: int, function: type[Function] = Strided) -> None:
        super().__init__()
        reference = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        assert reference.bias is not None
        self.weight, self.bias, self.function = reference.weight, reference.bias, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x, self.weight, self.bias)


class Blur(Function):
    """Binomial blur of rows with reflected borders."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        padded = functional.pad(x, (1, 1, 0, 0), mode="reflect")
        return 0.25 * padded[..., :-2] + 0.5 * padded[..., 1:-1] + 0.25 * padded[..., 2:]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        spread = 0.25 * functional.pad(g, (0, 2)) + 0.5 * functional.pad(g, (1, 1)) + 0.25 * functional.pad(g, (2, 0))
        x = spread[..., 1:-1].clone()
        x[..., 1] += spread[..., 0]
        x[..., -2] += spread[..., -1]
        return x


class BlurZeroBorder(Blur):
    """The backward of the blur with borders of zeros."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return 0.25 * functional.pad(g, (0, 1))[..., 1:] + 0.5 * g + 0.25 * functional.pad(g, (1, 0))[..., :-1]


class Enlarge(Function):
    """Every pixel twice in each direction."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return functional.avg_pool2d(g, 2) * 4


class EnlargeMean(Enlarge):
    """Averages the four copies instead of summing them."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return functional.avg_pool2d(g, 2)


class EnlargeFirstCopy(Enlarge):
    """Reads the gradient of one of the four copies."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g[:, :, ::2, ::2]


class GlobalMean(Function):
    """Mean over height and width."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return x.mean((2, 3))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return (g / (ctx.shape[2] * ctx.shape[3]))[:, :, None, None].expand(ctx.shape)


class SquareMean(GlobalMean):
    """Divides by the height squared."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return (g / ctx.shape[2] ** 2)[:, :, None, None].expand(ctx.shape)


class Unfold(Function):
    """Space to depth: blocks of two by two pixels become channels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return functional.pixel_unshuffle(x, 2)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return functional.pixel_shuffle(g, 2)


class UnfoldReordered(Unfold):
    """Channels last within the block on the way back, channels first on the way in."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return functional.pixel_shuffle(g.unflatten(1, (4, -1)).transpose(1, 2).flatten(1, 2), 2)


class Plain(nn.Module):
    """A function of one tensor as a module."""

    def __init__(self, function: type[Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x)


class Encoder(nn.Module):
    """Stem, reduction, blur, mean and head of a small image encoder; each of the middle ones can be exchanged."""

    def __init__(self, **functions: type[Function]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.reduce = StridedConv(4, 4, functions.get("reduce", Strided))
        self.blur = Plain(functions.get("blur", Blur))
        self.enlarge = Plain(functions.get("enlarge", Enlarge))
        self.unfold = Plain(functions.get("unfold", Unfold))
        self.mix, self.mean = nn.Conv2d(16, 4, 1), Plain(functions.get("mean", GlobalMean))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.silu(self.reduce(torch.tanh(self.stem(x))))
        x = self.mix(self.unfold(self.enlarge(self.blur(x))))
        return self.head(self.mean(torch.tanh(x)))


def encoder(**functions: type[Function]) -> Facts:
    """Square images with even sides."""
    return facts(Encoder(**functions), torch.randn(2, 2, 6, 6))


def wavenet(function: type[Function]) -> Facts:
    """The layer in question is ``2``, undilated."""
    model = nn.Sequential(nn.Conv1d(1, 3, 2), nn.Tanh(), AtrousConv(3, 4, 2, function=function), nn.Softsign(), nn.Conv1d(4, 1, 1))
    return facts(model, torch.randn(2, 1, 8))


def _case(name: str, place: str, function: type[Function], **rest: Any) -> Case:
    build = {"bug": partial(encoder, **{place: function}), "twin": encoder, "module": place, "function": function.__name__}
    return Case(**({"id": f"convolution/{name}", "trigger": "always", **build} | rest))


CASES = (
    _case("kernel-transposed", "reduce", KernelTransposed, parameter="weight"),
    _case("bias-pixel-mean", "reduce", BiasPixelMean, parameter="bias"),
    _case("odd-side-shifted", "reduce", OddSideShifted, trigger="shape", needs="configuration", witness=drawn((2, 2, 7, 7)),
          relative_size=0.3),
    _case("border-of-zeros", "blur", BlurZeroBorder, trigger="border"),
    _case("copies-averaged", "enlarge", EnlargeMean),
    _case("one-copy-of-four", "enlarge", EnlargeFirstCopy),
    _case("square-mean", "mean", SquareMean, trigger="shape", needs="configuration", witness=drawn((2, 2, 4, 8))),
    _case("unfold-reordered", "unfold", UnfoldReordered),
    _case("undilated-weight", "2", Undilated, bug=partial(wavenet, Undilated), twin=partial(wavenet, Atrous), parameter="weight",
          trigger="hyper-parameter", needs="configuration", witness=setting("2", dilation=2)),
)
