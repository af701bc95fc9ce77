"""Inputs as short texts, and names that make them."""

from pathlib import Path

import pytest
import torch
from torch import nn

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.targets import Options, parse, resolve, subject_of
from gradcheck_suite.targets.subjects import settings_of


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("4x3",), "[(4, 3) float32]"),
        (("double:2x3", "scalar"), "[(2, 3) float64, () float32]"),
        (("ids=long:4x6:9",), "ids=(4, 6) int64"),
        (("2x3", "mask=bool:2x2"), "[(2, 3) float32] mask=(2, 2) bool"),
        (("complex:2x2",), "[(2, 2) complex64]"),
        (("0x3",), "[(0, 3) float32]"),
    ],
)
def test_the_texts_of_inputs(texts: tuple[str, ...], expected: str) -> None:
    def told(value: torch.Tensor) -> str:
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"

    batch = subject_of(nn.Identity, settings_of(Options(inputs=texts), "")).setup(3).batch
    said = f"[{', '.join(map(told, batch.args))}] " if batch.args else ""
    assert (said + " ".join(f"{name}={told(value)}" for name, value in batch.kwargs.items())).strip() == expected
    ids = batch.kwargs.get("ids")
    assert ids is None or (int(ids.min()) >= 0 and int(ids.max()) < 9)


@pytest.mark.parametrize(
    "text", ["4,3", "4x", "x", "-1x3", "float:2x3:7", "words:2x3", "long:4x3:0", "a=b=2x3", "999999x999999", "4x3 ", "", "٣x٣:"]
)
def test_what_is_no_input_is_said_so(text: str) -> None:
    with pytest.raises(UsageError, match=r"(?s)Allowed|smaller batch|how many"):
        resolve(parse("torch.nn:Identity"), Options(inputs=(text,)))


def test_names_of_inputs_loss_and_targets_are_imported(folder: Path) -> None:
    setup = resolve(
        parse("models_here.py:build"), Options(inputs=("models_here.py:make",), loss="models_here.py:loss", targets="long:2:3")
    ).setup(4)
    assert torch.equal(setup.batch.args[0], torch.full((2, 3), 4.0))
    assert setup.loss is not None
    assert setup.batch.targets.dtype == torch.int64
    by_class = resolve(parse("models_here.py:mapped"), Options(loss="torch.nn:MSELoss", mode="eval"))
    assert isinstance(by_class.setup(0).loss, nn.MSELoss)
