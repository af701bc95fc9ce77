"""Gradients written by hand, in NumPy: functions, (forward, backward) pairs, layers, networks of layers, update steps.

Works without torch. Each function returns the same report as ``gradcheck_suite.audit``.
"""

from gradcheck_suite.handwritten.checks import check_gradient, check_layer, check_network, check_pair, check_update
from gradcheck_suite.handwritten.parameters import WithParameters

__all__ = ["WithParameters", "check_gradient", "check_layer", "check_network", "check_pair", "check_update"]
