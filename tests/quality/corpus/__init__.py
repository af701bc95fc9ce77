"""Models with known answers: wrong gradients, each with a correct twin, and correct models that look wrong.

Every file is a theme. A test of its own (``test_verify``) shows, without the tool under test, that each bug is wrong, that each
twin and control is right, and that nothing but the backward code tells bug from twin.
"""

from . import (
    activations,
    attention,
    controls_draws,
    controls_forms,
    controls_kinks,
    controls_layers,
    controls_numbers,
    convolution,
    dense,
    embedding,
    layout,
    losses,
    normalization,
    objectives,
    precision,
    recurrent,
    second_order,
    stochastic,
    structure,
    transforms,
)
from .case import TRIGGERS, Case, Control, Facts

THEMES = (
    activations, attention, convolution, dense, embedding, layout, losses, normalization, objectives, precision, recurrent,
    second_order, stochastic, structure, transforms,
)
TRICKY = (controls_draws, controls_forms, controls_kinks, controls_layers, controls_numbers)
CASES: tuple[Case, ...] = tuple(case for theme in THEMES for case in theme.CASES)
CONTROLS: tuple[Control, ...] = tuple(control for theme in TRICKY for control in theme.CONTROLS)

__all__ = ["CASES", "CONTROLS", "TRIGGERS", "Case", "Control", "Facts"]
