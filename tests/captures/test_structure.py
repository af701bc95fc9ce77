"""What a structure says of harm."""

import math

from gradcheck_suite.captures.structure import Structure
from gradcheck_suite.core.architecture import Architecture, layer

EPSILON = 2.0**-23


def structure(architecture=None) -> Structure:
    return Structure(modules=(), parameters=0, trainable=0, order=(), chain=(), outside="", dtype="float32", training=True,
                     architecture=architecture)


def test_half_of_the_digits_may_go_where_no_law_is_declared():
    limit = -math.log(EPSILON)
    assert "10^-3.5" in structure().harmless(-0.999 * limit, EPSILON)
    assert structure().harmless(0.999 * limit, EPSILON) is not None
    assert structure().harmless(-1.001 * limit, EPSILON) is None


def test_a_declared_law_is_held_to():
    declared = Architecture(input_shape=(4,), layers=(layer("dense", units=2),))
    assert structure(declared).harmless(0.0, EPSILON) is None
