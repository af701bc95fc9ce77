"""Tests of the probe ``directional_derivative``, file by file."""
