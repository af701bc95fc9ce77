"""The text of a target: its forms, and what is said of any other text."""

import dataclasses
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.targets import parse


@pytest.mark.parametrize(
    ("text", "kind", "attribute"),
    [
        ("pkg.models:build", "module", "build"),
        ("pkg:Net.small", "module", "Net.small"),
        ("models_here.py:build", "file", "build"),
        ("./models_here.py:build", "file", "build"),
        ("timm:resnet18", "timm", ""),
        ("torchvision:vgg11", "torchvision", ""),
        ("hf:bert", "hf", ""),
    ],
)
def test_the_forms_of_a_target(folder: Path, text: str, kind: str, attribute: str) -> None:
    target = parse(text)
    assert (target.kind, target.attribute, target.text) == (kind, attribute, text)
    assert pickle.loads(pickle.dumps(target)) == target
    assert json.loads(json.dumps(dataclasses.asdict(target)))["text"] == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models_here.py", "models_here.py:NAME"),
        ("pkg.models.build", "pkg.models:build"),
        ("build", "a colon"),
        ("", "is not a target"),
        (":", "is not a target"),
        ("pkg:", "is not a target"),
        ("no.py:build", "does not exist"),
        (".py:build", "does not exist"),
        ("pkg models:build", "not a module name"),
        ("pkg:1x", "not a name"),
        ("pkg:a b", "not a name"),
        ("\0:x", "is not a target"),
        ("models_here.py:build()", "not a name"),
    ],
)
def test_what_is_no_target_is_said_with_the_allowed_forms(folder: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("(", r"\(")) as caught:
        parse(text)
    assert "path/file.py:factory" in str(caught.value)


def test_parsing_needs_neither_torch_nor_numpy() -> None:
    code = "import sys; from gradcheck_suite.targets import parse; parse('a.b:c'); print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
