"""What clipping's statement says of captures whose answer is known."""

import numpy as np
import pytest

from gradcheck_suite import catalogue
from gradcheck_suite.captures.clipping import Clip
from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.contract import findings_of
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Level, Verdict

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
