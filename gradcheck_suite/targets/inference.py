"""Inputs guessed from the first layer, where nobody said what to run on; a guess counts only if a forward pass accepts it."""

from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.failures import message_of, shown
from gradcheck_suite.targets.inputs import from_specs
from gradcheck_suite.targets.models import in_eval_mode

BATCH: Final = 4
STEPS: Final = 8
_SIDES: Final = (64, 32, 28, 224, 299)
INSTEAD: Final = ("Write --input 4x3x32x32 (the shape of the whole batch), inputs=torch.randn(4, 3, 32, 32), or let the factory return "
                  '{"model": model, "inputs": inputs}.')


def inferred(model: nn.Module, label: str) -> tuple[str, ...]:
    """The specs of inputs that the model accepts, guessed from its first layer of known shape.

    The model runs in eval mode, without gradients.

    Raises:
        UsageError: there is no such layer, or the model refused every guess.
    """
    refusal = ""
    first = next(((name, module) for name, module in model.named_modules() if any(True for _ in guesses(module))), None)
    if first is None:
        raise UsageError(f"{label} was given no inputs, and no layer of it tells their shape", instead=INSTEAD)
    for specs in guesses(first[1]):
        with in_eval_mode(model):
            try:
                model(*draw(specs))
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:  # the user's forward may raise anything; the next guess may fit
                refusal = refusal or f"{', '.join(specs)} (guessed from {shown(first[0], 200) or 'the model'!r}): {message_of(error)}"
            else:
                return specs
    raise UsageError(f"{label} was given no inputs, and refused {refusal}", instead=INSTEAD)


def draw(specs: tuple[str, ...]) -> tuple[Any, ...]:
    """One draw of the guessed inputs, always the same."""
    return from_specs(specs, torch.Generator().manual_seed(0))[0]


def guesses(module: nn.Module) -> Iterator[tuple[str, ...]]:
    """Specs that a module of this kind takes as its input, likeliest first; nothing for a kind that does not tell."""
    if any(is_lazy(tensor) for tensor in module.parameters(recurse=False)):
        return
    match module:
        case nn.Linear():
            yield from ((f"{BATCH}x{module.in_features}",), (f"{BATCH}x{STEPS}x{module.in_features}",))
            yield from _images_of(module.in_features)
        case nn.Bilinear():
            yield (f"{BATCH}x{module.in1_features}", f"{BATCH}x{module.in2_features}")
        case nn.Conv1d() | nn.ConvTranspose1d():
            yield from ((f"{BATCH}x{module.in_channels}x{side}",) for side in _SIDES)
        case nn.Conv2d() | nn.ConvTranspose2d():
            yield from ((f"{BATCH}x{module.in_channels}x{side}x{side}",) for side in _SIDES)
        case nn.Conv3d() | nn.ConvTranspose3d():
            yield from ((f"2x{module.in_channels}x{side}x{side}x{side}",) for side in (8, 16, 32))
        case nn.Embedding() | nn.EmbeddingBag():
            yield (f"long:{BATCH}x{STEPS}:{module.num_embeddings}",)
            yield (f"long:{BATCH}:{module.num_embeddings}",)
        case nn.RNNBase():
            yield (f"{BATCH}x{STEPS}x{module.input_size}" if module.batch_first else f"{STEPS}x{BATCH}x{module.input_size}",)
        case nn.RNNCellBase():
            yield (f"{BATCH}x{module.input_size}",)
        case nn.Transformer():
            yield (f"{STEPS}x{BATCH}x{module.d_model}", f"{STEPS}x{BATCH}x{module.d_model}")
        case nn.MultiheadAttention():
            yield (f"{STEPS}x{BATCH}x{module.embed_dim}",) * 3
        case _:
            yield from _of_norm(module)


def _of_norm(module: nn.Module) -> Iterator[tuple[str, ...]]:
    match module:
        case nn.TransformerEncoderLayer():
            yield (f"{BATCH}x{STEPS}x{module.self_attn.embed_dim}",)
        case nn.TransformerDecoderLayer():
            yield (f"{BATCH}x{STEPS}x{module.self_attn.embed_dim}",) * 2
        case nn.LayerNorm() | nn.RMSNorm():
            yield (f"{BATCH}x" + "x".join(map(str, module.normalized_shape)),)
        case nn.BatchNorm1d() | nn.InstanceNorm1d():
            yield (f"{BATCH}x{module.num_features}",)
            yield (f"{BATCH}x{module.num_features}x{STEPS}",)
        case nn.BatchNorm2d() | nn.InstanceNorm2d():
            yield (f"{BATCH}x{module.num_features}x8x8",)
        case nn.GroupNorm():
            yield (f"{BATCH}x{module.num_channels}x8x8",)
        case _:
            return


def _images_of(features: int) -> Iterator[tuple[str, ...]]:
    """Square images that flatten to that many features (a model that begins with ``flatten``)."""
    for channels in (1, 3):
        side = round((features / channels) ** 0.5)
        if side > 1 and channels * side * side == features:
            yield (f"{BATCH}x{channels}x{side}x{side}",)
