"""Encoder depth sweep: what is swept, in what order, and what is not."""

import numpy as np
import pytest

from gradcheck_suite.architectures.subjects import subject
from gradcheck_suite.captures.encoder_depth_sweep import EncoderDepthSweep
from gradcheck_suite.core.architecture import Architecture, layer
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.probes.encoder_depth_sweep import DEPTHS, encoder_depth_sweep

LAYER = layer("encoder", heads=2, hidden=8)
NET = Architecture(input_shape=(3, 4), layers=(layer("dense", units=6), LAYER, LAYER, layer("dense", units=2)), loss="mse",
                   initialization="glorot-normal", batch=2)


def test_every_depth_is_measured():
    seen = encoder_depth_sweep(subject(NET), BUDGETS["quick"], 0)
    assert tuple(seen.depths.tolist()) == DEPTHS
    assert seen.gradients.shape == (3, len(DEPTHS))
    assert np.isfinite(seen.gradients).all()
    assert seen.norm == "pre"


def test_the_slope_is_that_of_a_power_law():
    depths = np.array([2, 4, 8])
    seen = EncoderDepthSweep(depths=depths, gradients=np.array([3 - 0.5 * np.log(depths), 1 - 0.7 * np.log(depths)]), norm="pre")
    assert seen.slope() == pytest.approx((-0.6, 0.1))


@pytest.mark.parametrize(("changes", "fact"), [
    ({"initialization": "he-normal"}, "Glorot"), ({"loss": ""}, "Glorot"),
    ({"layers": (layer("dense", units=4),)}, "no equal encoder layers"),
    ({"layers": (LAYER, layer("dense", units=4), LAYER)}, "no equal encoder layers"),
])
def test_what_is_not_swept(changes, fact):
    with pytest.raises(NotApplicable, match=fact):
        encoder_depth_sweep(subject(NET.changed(**changes)), BUDGETS["quick"], 0)
