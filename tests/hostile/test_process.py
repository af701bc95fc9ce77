"""Models that harm their own process: each ending is named, with its place, and the next model is audited to the end."""

import pytest

from gradcheck_suite.core.budget import budget
from gradcheck_suite.core.errors import SubjectError
from gradcheck_suite.engine.sources import ChildSource, Limits
from gradcheck_suite.targets import Options, parse
from tests.engine.children import left_by, recorded
from tests.hostile.table import MODELS, ORDINARY, PROCESS, Harmful

PROBE = "repeated_pass"


def source_of(file: str, name: str, limits: Limits = ORDINARY) -> ChildSource:
    return ChildSource(parse(f"{MODELS / file}.py:{name}"), Options(), budget("quick"), 0, limits)


@pytest.mark.parametrize("case", PROCESS, ids=lambda case: case.name)
def test_it_is_told_and_its_sibling_is_audited(case: Harmful, monkeypatch: pytest.MonkeyPatch) -> None:
    children = recorded(monkeypatch)
    source, sibling = source_of(case.file, case.name, case.limits), source_of("process", "healthy")
    try:
        assert source.facts.parameters == 26
        if case.words:
            with pytest.raises(SubjectError, match=case.words) as caught:
                source.capture(PROBE)
            assert caught.value.stage in (case.stage, *case.also)
            assert caught.value.module == case.module or case.also
        else:
            assert source.capture(PROBE)
        assert sibling.capture(PROBE)
    finally:
        source.close()
        sibling.close()
    assert not left_by(children)
