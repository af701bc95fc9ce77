"""Models of other libraries by name."""

import re
import sys
from typing import Any

import pytest

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.targets import parse, resolve
from gradcheck_suite.targets.zoo import _candidates, _known, _shrunk


def test_a_zoo_that_is_not_installed_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("timm", "torchvision", "transformers"):
        monkeypatch.setitem(sys.modules, library, None)
    for text in ("timm:resnet18", "torchvision:vgg11", "hf:bert"):
        with pytest.raises(UsageError, match=r"(?s)is not installed.*gradcheck-suite\[zoo\]"):
            resolve(parse(text))


@pytest.mark.parametrize(("name", "meant"), [("bert-base-uncased", "bert?"), ("brt", "bert")])
def test_a_name_that_is_not_known_is_answered_with_the_closest(name: str, meant: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"Did you mean {meant}")):
        _known(name, ["bert", "bart-large", "gpt2"], "no model")


class Config:
    """Stands in for a configuration of transformers."""

    model_type = "it"

    def __init__(self, **facts: Any) -> None:
        vars(self).update(facts)

    def to_dict(self) -> dict[str, Any]:
        return vars(self)

    def get_text_config(self) -> "Config":
        return self


def test_a_configuration_is_shrunk_to_two_layers() -> None:
    config = Config(
        num_hidden_layers=12,
        hidden_size=768,
        vocab_size=30522,
        pad_token_id=50256,
        eos_token_id=2,
        use_cache=True,
        layer_types=["full"] * 12,
        depths=[2, 6, 2],
        vision_config=Config(num_hidden_layers=24, num_channels=1, image_size=32),
    )
    small = _shrunk(config, {"hidden_size": 64, "vocab_size": 1000})
    assert (small.num_hidden_layers, small.hidden_size, small.vocab_size, small.pad_token_id, small.eos_token_id) == (
        2,
        64,
        1000,
        0,
        2,
    )
    assert (small.layer_types, small.depths, small.use_cache, small.vision_config.num_hidden_layers) == (
        ["full"] * 2,
        [1, 1, 1],
        False,
        2,
    )
    assert config.num_hidden_layers == 12
    assert ("input_ids=long:2x16:1000", "decoder_input_ids=long:2x16:1000") in list(_candidates("input_ids", small))
    assert next(_candidates("pixel_values", small)) == ("pixel_values=2x1x32x32",)
