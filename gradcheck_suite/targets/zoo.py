"""Models of timm, torchvision and transformers by name: random weights, never a download."""

import contextlib
import copy
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import partial
from typing import Any, Final

import torch
from torch import nn

from gradcheck_suite.core.errors import TargetError, UsageError
from gradcheck_suite.core.failures import message_of
from gradcheck_suite.subject import Batch
from gradcheck_suite.targets.grammar import Target
from gradcheck_suite.targets.inference import INSTEAD
from gradcheck_suite.targets.inputs import from_specs
from gradcheck_suite.targets.loading import told
from gradcheck_suite.targets.returned import generator_of

_LAYERS: Final = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "num_encoder_layers", "num_decoder_layers", "encoder_layers",
                  "decoder_layers")
_WIDTHS: Final = {
    "hidden_size": 64, "d_model": 64, "n_embd": 64, "embedding_size": 64, "projection_dim": 64, "intermediate_size": 128,
    "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "ffn_dim": 128, "d_ff": 128, "num_attention_heads": 4, "num_heads": 4, "n_head": 4,
    "encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "d_kv": 16, "vocab_size": 1000,
    "max_position_embeddings": 128, "image_size": 64,
}
_TOKENS: Final = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "sep_token_id", "cls_token_id")
_kept_library: list[Any] = []


def factory(target: Target) -> Callable[[], Any]:
    """A factory of the zoo's model of that name.

    Raises:
        UsageError: the library is not installed, or knows no such model.
        TargetError: the model cannot be built.
    """
    return {"timm": _timm, "torchvision": _torchvision, "hf": _hf}[target.kind](target.place)


def _timm(name: str) -> Callable[[], nn.Module]:
    timm = _library("timm")
    _known(name, timm.list_models(), "timm has no model")
    return lambda: timm.create_model(name, pretrained=False)


def _torchvision(name: str) -> Callable[[], nn.Module]:
    torchvision = _library("torchvision")
    _known(name, torchvision.models.list_models(), "torchvision has no model")

    def build() -> nn.Module:
        try:
            model: nn.Module = torchvision.models.get_model(name, weights=None, weights_backbone=None)
        except (TypeError, ValueError):  # classifiers have no backbone to load weights for
            model = torchvision.models.get_model(name, weights=None)
        return model

    return build


def _hf(name: str) -> Callable[[], Any]:
    transformers = _library("transformers")
    known = _library("transformers.models.auto.configuration_auto").CONFIG_MAPPING_NAMES
    _known(name, sorted(known), "transformers has no model_type (names of repositories are not downloaded)")
    transformers.logging.set_verbosity_error()
    with told(f"the configuration of hf:{name} could not be made"):
        config = transformers.AutoConfig.for_model(name)
    refusals = []
    for widths in (_WIDTHS, {}):
        small = _shrunk(config, widths)

        build = partial(_from_config, transformers.AutoModel, small)
        try:
            specs = _accepted(build(), small)
        except Exception as error:  # the widths of this configuration may depend on each other: try it unshrunk
            refusals.append(message_of(error))
            continue
        return partial(_with_inputs, build, specs)
    raise TargetError(f"hf:{name} could not be built and run from its default configuration: {refusals[0]}",
                      instead="Write a factory that returns {'model': ..., 'inputs': ...}.")


def _from_config(auto: Any, config: Any) -> nn.Module:
    model: nn.Module = auto.from_config(copy.deepcopy(config))
    return model


def _with_inputs(build: Callable[[], nn.Module], specs: tuple[str, ...]) -> dict[str, Any]:
    return {"model": build(), "inputs": lambda seed: Batch(*from_specs(specs, generator_of(seed, "inputs")))}


def _accepted(model: nn.Module, config: Any) -> tuple[str, ...]:
    """Specs of inputs that the model accepts, chosen by its main input's name."""
    model.eval()
    refusal: Exception | None = None
    for specs in _candidates(str(getattr(model, "main_input_name", "input_ids")), config):
        args, kwargs = from_specs(specs, torch.Generator().manual_seed(0))
        try:
            with torch.no_grad():
                model(*args, **kwargs)
        except Exception as error:
            refusal = refusal or error
        else:
            return specs
    raise refusal or UsageError("nothing tells the inputs of this model", instead=INSTEAD)


def _candidates(main: str, config: Any) -> Iterator[tuple[str, ...]]:
    text = config.get_text_config()
    vocabulary = int(getattr(text, "vocab_size", 0) or 100)
    tokens, decoder = f"input_ids=long:2x16:{vocabulary}", f"decoder_input_ids=long:2x16:{vocabulary}"
    vision = getattr(config, "vision_config", config)
    side, channels = getattr(vision, "image_size", 224), getattr(vision, "num_channels", 3)
    side = side if isinstance(side, int) else 224
    images = [f"pixel_values=2x{channels}x{size}x{size}" for size in dict.fromkeys((side, 64, 224))]
    sounds = [f"input_values=2x{length}" for length in (4000, 16000)]
    features = [f"input_features=2x{getattr(config, 'num_mel_bins', 80)}x{2 * getattr(config, 'max_source_positions', 1500)}"]
    first = {"pixel_values": images, "input_values": sounds, "input_features": features}.get(main, [tokens])
    for spec in first:
        yield (spec,)
        yield (spec, decoder)
        yield (spec, tokens) if main != "input_ids" else (spec, images[0])


def _shrunk(config: Any, widths: dict[str, int]) -> Any:
    """A copy of a configuration with two layers, and with small widths where they are given; parts of it as well."""
    small = copy.deepcopy(config)
    before = {name: int(getattr(config, name)) for name in _LAYERS if isinstance(getattr(config, name, None), int)}
    for name, layers in before.items():
        setattr(small, name, min(layers, 2))
    for name, value in list(vars(small).items()):
        if hasattr(value, "to_dict") and hasattr(value, "model_type"):
            setattr(small, name, _shrunk(value, widths))
        elif isinstance(value, list) and len(value) > 2 and len(value) in before.values():
            setattr(small, name, value[:2])
        elif name == "depths" and isinstance(value, list | tuple):
            setattr(small, name, [1 for _ in value])
        elif isinstance(value, int) and name in widths and value > widths[name]:
            setattr(small, name, widths[name])
        elif name in _TOKENS and isinstance(value, int) and value >= widths.get("vocab_size", value + 1):
            setattr(small, name, _TOKENS.index(name))
    with contextlib.suppress(AttributeError):
        small.use_cache = False
    return small


def _known(name: str, names: list[str], unknown: str) -> None:
    if name not in names:
        begun = sorted((known for known in names if name.startswith(known)), key=len)[-1:]  # bert-base-uncased is a bert
        close = begun or get_close_matches(name, names, n=3, cutoff=0.5)
        raise UsageError(f"{unknown} {name!r}", instead=f"Did you mean {' or '.join(close)}?" if close else
                         "Look the name up in the library's own list of models.")


def _library(name: str) -> Any:
    """A library that is not one of ours, imported; what is missing is said, with the command that installs it."""
    try:
        if name in ("timm", "torchvision"):
            _declare_operators()
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed", instead="Write: pip install 'gradcheck-suite[zoo]'") from None
    except Exception as error:
        raise UsageError(f"{name} is installed but cannot be imported: {message_of(error)}",
                         instead="torch and torchvision must come from the same index (both for CPU, or both for the same CUDA).") from None


def _declare_operators() -> None:
    """Declare torchvision's two compiled operators where its binary does not load beside this torch.

    A torchvision built for another torch fails at import although its models are plain Python; they do not use these.
    """
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
        _kept_library.append(library)
