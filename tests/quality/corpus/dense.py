"""Dense layers inside residual towers, a token mixer and a low-rank adapter: errors of size, sign, layout and reduction."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from .case import Case, Facts, drawn, facts


class Dense(Function):
    """``x @ weight.T + bias`` over any leading axes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight.t() + bias

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows, errors = x.flatten(0, -2), g.flatten(0, -2)
        return g @ weight, errors.t() @ rows, errors.sum(0)


class WeightOnePercent(Dense):
    """Weight gradient 1 % too large."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = Dense.backward(ctx, g)
        return x, weight * 1.01, bias


class InputTenThousandth(Dense):
    """Input gradient 1e-4 too small."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = Dense.backward(ctx, g)
        return x * (1 - 1e-4), weight, bias


class OneUnit(Dense):
    """Weight gradient of unit 2 wrong by 1e-5."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = Dense.backward(ctx, g)
        return x, torch.cat([weight[:2], weight[2:3] * (1 + 1e-5), weight[3:]]), bias


class BiasSign(Dense):
    """Bias gradient with the wrong sign."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = Dense.backward(ctx, g)
        return x, weight, -bias


class WeightTransposed(Dense):
    """Square weight gradient transposed: ``x.T @ g`` for ``g.T @ x``."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = Dense.backward(ctx, g)
        return x, weight.t(), bias


class InputTransposed(Dense):
    """Input gradient through the square weight's transpose."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        _, weight, bias = Dense.backward(ctx, g)
        return g @ ctx.saved_tensors[1].t(), weight, bias


class BatchMean(Dense):
    """Weight gradient averaged over the rows instead of summed."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = Dense.backward(ctx, g)
        return x, weight / g.flatten(0, -2).shape[0], bias


class LastSampleLost(Dense):
    """The last row does not reach the weight gradient."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = Dense.backward(ctx, g)
        last = torch.outer(g.flatten(0, -2)[-1], ctx.saved_tensors[0].flatten(0, -2)[-1])
        return x, weight - last, bias


class BiasFirstToken(Dense):
    """Bias gradient summed over the batch but not over the tokens."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, _ = Dense.backward(ctx, g)
        return x, weight, g[:, 0].sum(0)


class BiasMissing(Dense):
    """No gradient for the bias."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, _ = Dense.backward(ctx, g)
        return x, weight, None


class TileRemainder(Dense):
    """Rows beyond the last full tile of four do not reach the weight gradient."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, _, bias = Dense.backward(ctx, g)
        rows, errors = ctx.saved_tensors[0].flatten(0, -2), g.flatten(0, -2)
        full = max(1, rows.shape[0] // 4) * 4
        return x, errors[:full].t() @ rows[:full], bias


class SqueezedBatch(Dense):
    """``squeeze`` takes the batch axis of a single sample for the token axis, and loses all tokens but the first."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, _ = Dense.backward(ctx, g)
        return x, weight, g.squeeze().select(-2, 0) if g.shape[0] == 1 else g.flatten(0, -2).sum(0)


class FrozenBias(Dense):
    """Without a bias gradient to compute, the fused path skips the first row."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = Dense.backward(ctx, g)
        if ctx.needs_input_grad[2]:
            return x, weight, bias
        return x, g.flatten(0, -2)[1:].t() @ ctx.saved_tensors[0].flatten(0, -2)[1:], None


class InputNotNeeded(Dense):
    """Where the input needs no gradient, the weight gradient is halved."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = Dense.backward(ctx, g)
        return (x, weight, bias) if ctx.needs_input_grad[0] else (None, weight * 0.5, bias)


class DenseLayer(nn.Module):
    """``nn.Linear`` with its own backward."""

    def __init__(self, inputs: int, units: int, function: type[Function] = Dense) -> None:
        super().__init__()
        reference = nn.Linear(inputs, units)
        self.weight, self.bias, self.function = reference.weight, reference.bias, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x, self.weight, self.bias)


class ResidualBlock(nn.Module):
    """Pre-norm residual block with a widening of two."""

    def __init__(self, width: int, function: type[Function] = Dense) -> None:
        super().__init__()
        self.norm, self.expand, self.contract = nn.LayerNorm(width), nn.Linear(width, 2 * width), DenseLayer(2 * width, width, function)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.contract(torch.nn.functional.gelu(self.expand(self.norm(x))))


class TokenMixer(nn.Module):
    """Mixes tokens, then channels, both square."""

    def __init__(self, tokens: int, channels: int, function: type[Function] = Dense) -> None:
        super().__init__()
        self.tokens, self.channels = nn.Linear(tokens, tokens), DenseLayer(channels, channels, function)

    def forward(self, x: Tensor) -> Tensor:
        x = x + torch.tanh(self.tokens(x.transpose(1, 2))).transpose(1, 2)
        return x + torch.sigmoid(self.channels(x))


def tower(function: type[Function], rows: int = 4) -> Facts:
    """Two residual blocks; the layer in question is ``blocks.1.contract``."""
    blocks = nn.Sequential(ResidualBlock(4), ResidualBlock(4, function))
    layers = {"stem": nn.Linear(3, 4), "blocks": blocks, "head": nn.Linear(4, 2)}
    model = nn.Sequential()
    for name, module in layers.items():
        model.add_module(name, module)
    return facts(model, torch.randn(rows, 3))


def mixer(function: type[Function], batch: int = 2) -> Facts:
    """A token mixer between two dense layers; the layer in question is ``1.channels``."""
    return facts(nn.Sequential(nn.Linear(3, 4), TokenMixer(3, 4, function), nn.Linear(4, 2)), torch.randn(batch, 3, 3))


def first_layer(function: type[Function]) -> Facts:
    """The layer in question meets the input itself."""
    model = nn.Sequential(DenseLayer(3, 5, function), nn.Softplus(), nn.Linear(5, 2))
    return facts(model, torch.randn(4, 3), targets=torch.randn(4, 2), loss=nn.functional.mse_loss)


def frozen_bias(found: Facts) -> Facts:
    """A witness: the bias of the layer in question frozen."""
    found["model"].get_submodule("1.channels").bias.requires_grad_(False)
    return found


def _case(name: str, model: Any, function: type[Function], module: str, **rest: Any) -> Case:
    build = {"bug": partial(model, function), "twin": partial(model, Dense)}
    return Case(**({"id": f"dense/{name}", "trigger": "always", **build, "module": module, "function": function.__name__} | rest))


BLOCK, MIXER = "blocks.1.contract", "1.channels"
CASES = (
    _case("weight-one-percent", tower, WeightOnePercent, BLOCK, parameter="weight", relative_size=1e-2),
    _case("input-ten-thousandth", tower, InputTenThousandth, BLOCK, relative_size=1e-4),
    _case("one-unit-hundred-thousandth", tower, OneUnit, BLOCK, parameter="weight", relative_size=3e-6),
    _case("bias-sign", tower, BiasSign, BLOCK, parameter="bias", relative_size=2.0),
    _case("weight-transposed", mixer, WeightTransposed, MIXER, parameter="weight"),
    _case("input-transposed", mixer, InputTransposed, MIXER),
    _case("weight-batch-mean", tower, BatchMean, BLOCK, parameter="weight"),
    _case("weight-last-sample-lost", tower, LastSampleLost, BLOCK, parameter="weight"),
    _case("bias-first-token", mixer, BiasFirstToken, MIXER, parameter="bias"),
    _case("bias-missing", mixer, BiasMissing, MIXER, parameter="bias"),
    _case("tile-remainder", tower, TileRemainder, BLOCK, parameter="weight", trigger="shape", needs="configuration", witness=drawn((6, 3))),
    _case("single-sample-squeezed", mixer, SqueezedBatch, MIXER, parameter="bias", trigger="shape", needs="configuration",
          witness=drawn((1, 3, 3))),
    _case("frozen-bias", mixer, FrozenBias, MIXER, parameter="weight", trigger="requires_grad", needs="configuration", witness=frozen_bias,
          relative_size=0.3),
    _case("input-not-needed", first_layer, InputNotNeeded, "0", parameter="weight", trigger="requires_grad", needs="configuration",
          witness=lambda found: found, inputs_need_gradient=False, relative_size=0.5),
)
