"""Shared by all tests: one torch thread, seeds, dtype and modes put back, examples that repeat, where the wheel test finds the wheel."""

import os
import sys

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
settings.register_profile("exploring")
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["pytester"]


def pytest_addoption(parser):
    parser.addoption("--wheel-folder", default="", help="folder with the built wheel, for tests/test_wheel.py")


def seeded():
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    """What a module draws while it is imported shall not depend on the modules imported before it."""
    seeded()
    return (yield)


@pytest.fixture(autouse=True)
def torch_as_new():
    """Draws do not depend on the tests run before; planted defects leak dtype and modes on purpose, and no other test shall see them."""
    seeded()
    yield
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
        torch.autograd.set_detect_anomaly(False)
