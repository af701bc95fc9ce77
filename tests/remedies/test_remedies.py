"""The catalogue of remedies: names, what is said of them, and the subjects they make."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from gradcheck_suite import catalogue, remedies
from gradcheck_suite.core.errors import NotApplicable, SubjectError
from tests.remedies.setups import setup, stack, subject


def test_every_remedy_that_a_property_names_exists_and_every_remedy_is_named():
    named = {name for entry in catalogue.entries() for name in catalogue.load(entry).remedies}
    assert named == set(remedies.names())


@pytest.mark.parametrize("name", remedies.names())
def test_a_remedy_says_what_it_does_when_it_helps_and_when_not(name):
    said = remedies.about(name)
    assert said.does.endswith(".")
    assert list(said.sections) == ["When it helps", "When it does not", "Sources"]
    assert all(said.sections.values())
    assert callable(remedies.remedy(name))


def test_an_unknown_remedy_is_named_with_those_there_are():
    with pytest.raises(LookupError, match="no remedy is called 'prayer'; there are adam-optimizer, "):
        remedies.remedy("prayer")
    with pytest.raises(LookupError):
        remedies.about("_weights")


def test_what_is_said_of_a_remedy_is_read_without_torch():
    program = "import sys; from gradcheck_suite.remedies import about; print(about('momentum').does, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Gradient descent gets a momentum")
    assert done.stdout.split()[-1] == "False"


def test_a_remedied_subject_keeps_name_batch_and_seeds():
    plain = subject(setup)
    changed = remedies.remedied(plain, "he-initialization")
    before, after, again = plain.setup(5), changed.setup(5), changed.setup(5)
    assert changed.name == plain.name
    assert torch.equal(before.batch.args[0], after.batch.args[0])
    assert all(map(torch.equal, after.model.parameters(), again.model.parameters()))
    assert not torch.equal(before.model[0].weight, after.model[0].weight)


@pytest.mark.parametrize("fresh", [True, False])
def test_a_model_that_is_given_again_and_again_stays_as_it_is(fresh):
    model = stack()
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    plain = subject(lambda: setup(model), fresh=fresh, instance=None if fresh else model)
    for name in ("he-initialization", "batch-normalization", "residual-connections", "leaky-relu-activation"):
        changed = remedies.remedied(plain, name).setup(0)
        assert changed.model is not model
        assert str(changed.model) != str(model) or not torch.equal(changed.model[0].weight, model[0].weight)
    assert [type(module) for module in model] == [nn.Linear, nn.ReLU] * 4 + [nn.Linear]
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())


def test_a_fresh_model_is_not_copied():
    models = []

    def build():
        made = setup()
        models.append(made.model)
        return made

    changed = remedies.remedied(subject(build), "he-initialization")
    assert changed.setup(0).model is models[-1]
    assert changed.setup(1).model is models[-1]
    assert len(models) == 3  # the first call makes two, to learn whether they share anything


def test_a_part_that_factories_share_is_copied_too():
    backbone = nn.Linear(16, 16)
    kept = backbone.weight.detach().clone()
    plain = subject(lambda: setup(nn.Sequential(backbone, nn.ReLU(), nn.Linear(16, 3))))
    changed = remedies.remedied(plain, "he-initialization").setup(0)
    assert torch.equal(backbone.weight, kept)
    assert not torch.equal(changed.model[0].weight, kept)


def test_a_model_that_cannot_be_copied_is_not_changed():
    model = stack()
    model.lock = (part for part in ())
    with pytest.raises(NotApplicable, match="the model cannot be copied: TypeError"):
        remedies.remedied(subject(lambda: setup(model), fresh=False, instance=model), "he-initialization").setup(0)


def test_a_remedy_that_fails_is_the_subjects_failure():
    def refuse(parameters):
        raise RuntimeError("no optimiser today")

    changed = remedies.remedied(subject(lambda: setup(optimizer=refuse)), "lower-learning-rate")
    with pytest.raises(SubjectError, match="lower-learning-rate could not be applied: RuntimeError: no optimiser today") as caught:
        changed.setup(0)
    assert "refuse" in caught.value.details
