"""A representative part of the corpus: wrong gradients found and placed, right ones left alone.

``python -m tests.quality.score`` runs all of it from several seeds, beside torch's gradcheck.
"""

import pytest
import torch

from . import score
from .corpus import CONTROLS, THEMES

ENTRIES = {entry.id: entry for entry in score.entries()}


def chosen() -> list[str]:
    """Of every theme the first wrong gradient that shows at the given input and the first that is shown its trigger."""
    found = []
    for theme in THEMES:
        given = [case.id for case in theme.CASES if case.needs is None]
        shown = [f"{case.id}@witness" for case in theme.CASES if case.witness and case.inputs_need_gradient]
        found += given[:1] + shown[:1]
    return found


BUGS = chosen()
# wrong only where the whole model runs; there the model is named and the module is not, each with its reason
ONLY_AS_A_WHOLE = {"structure/gradient-limited@witness": "the limit is reached by the loss's gradient and by no gradient of order one"}
RIGHT = [control.id for control in CONTROLS[::5] if control.kind != "declared"]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", BUGS)
def test_a_wrong_gradient_is_found_in_its_module_and_its_twin_is_not_accused(name):
    found = score.judged(ENTRIES[name], 0)
    assert found.accused, found.error
    assert found.named or name in ONLY_AS_A_WHOLE, found.places
    twin = score.judged(ENTRIES[f"{name}/twin"], 0)
    assert not twin.accused, score.misses([twin])


@pytest.mark.parametrize("name", RIGHT)
def test_a_correct_model_is_not_accused(name):
    found = score.judged(ENTRIES[name], 0)
    assert not found.accused, score.misses([found])


def test_the_part_is_representative():
    assert len({ENTRIES[name].case.trigger for name in BUGS}) >= 9
    assert len(RIGHT) >= 25
