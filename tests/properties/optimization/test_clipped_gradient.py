"""What clipping's statement says of captures whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest

from gradcheck_suite import catalogue
from gradcheck_suite.architectures.subjects import subject
from gradcheck_suite.captures.clipping import Clip
from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.contract import findings_of
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.evidence import Level, Verdict
from gradcheck_suite.probes.first_steps import first_steps

(ENTRY,) = [entry for entry in catalogue.entries() if entry.id == "clipped-gradient"]
NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("tanh"), layer("dense", units=3)), loss="mse", batch=8)


def found(*defects, **changes):
    return findings_of(catalogue.load(ENTRY), NET.changed(defects=defects, **changes))


def test_the_reason_of_a_violation_is_told():
    reasons = {"repeated-parameters": "given more than once", "shared-gradients": "same memory"}
    for kind, reason in reasons.items():
        violated = [one for one in found(Defect(kind=kind, module="0")) if one.verdict is Verdict.VIOLATED]
        assert len(violated) == 1
        assert violated[0].level is Level.REQUIREMENT
        assert violated[0].where.module == "0"
        assert reason in violated[0].message


def test_an_overflow_where_nobody_clips_and_a_turned_direction_are_indicators():
    huge = found(Defect(kind="scaled-loss", module="", strength=1e25), dtype="float32")
    turned = found(Defect(kind="clipping-one-by-one", module="", strength=0.01))
    for findings in (huge, turned):
        assert {one.level for one in findings if one.verdict is Verdict.VIOLATED} == {Level.INDICATOR}
    both = found(Defect(kind="scaled-loss", module="", strength=1e25), Defect(kind="clipping", module=""), dtype="float32")
    assert Level.REQUIREMENT in {one.level for one in both if one.verdict is Verdict.VIOLATED}


def test_clipping_one_by_one_that_clips_nothing_turns_nothing():
    assert {one.verdict for one in found(Defect(kind="clipping-one-by-one", module="", strength=1e9))} == {Verdict.HOLDS}


@pytest.mark.parametrize("strength", [1e-320, 0.0])
def test_gradients_below_the_smallest_normal_number_or_zero_are_not_judged(strength):
    (finding,) = found(Defect(kind="scaled-loss", module="", strength=strength))
    assert finding.verdict is Verdict.NOT_APPLICABLE


def test_the_error_counts_roundings_sums_and_lost_numbers():
    clip = Clip(within_step=False, bound=1.0, norm=2.0, before=frozen([2.0, 1e-30]), deviation=frozen([0.0, 0.0]),
                entries=frozen([9, 7], "<i8"), epsilon=frozen([2.0**-23] * 2), tiny=frozen([2.0**-126] * 2))
    rounding = (8 + 8 * 4) * 2.0**-24
    assert clip.rounding == rounding
    assert clip.error == pytest.approx([rounding, rounding + np.sqrt(7) * 2.0**-126 / (clip.factor * 1e-30)])


def test_calls_from_one_line_give_one_finding_that_is_the_worst():
    def clip(source, norm, at_step):
        return Clip(within_step=True, bound=1.0, source=source, parameters=("0.weight",), norm=norm, before=frozen([norm]),
                    deviation=frozen([0.0]), after=min(norm, 1.0), at_step=at_step, entries=frozen([4], "<i8"),
                    epsilon=frozen([2.0**-52]), tiny=frozen([2.0**-1022]))

    def evidence(*clips):
        capture = first_steps(subject(NET), BUDGETS["quick"], 0)
        return list(catalogue.load(ENTRY).measure(replace(capture, clips=clips)))

    seen = evidence(clip("a.py:1", 2.0, 1.0), clip("a.py:1", 3.0, 7.0), clip("b.py:2", 2.0, 1.0), clip("a.py:1", 0.5, 0.5))
    assert [(one.where.source, one.quantity.partition(" over")[0]) for one in seen] == [
        (source, quantity) for source in ("a.py:1", "b.py:2")
        for quantity in ("relative distance of a clipped gradient from the law's", "norm after clipping", "norm at the update")]
    assert [one.verdict for one in seen] == [Verdict.HOLDS, Verdict.HOLDS, Verdict.VIOLATED] + 3 * [Verdict.HOLDS]
    assert seen[2].value == 7.0
