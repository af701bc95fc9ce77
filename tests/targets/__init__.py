"""Tests of gradcheck_suite.targets."""
