"""Shared by all tests: one torch thread, and the option that tells the wheel test where the wheel is."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["pytester"]


def pytest_addoption(parser):
    parser.addoption("--wheel-folder", default="", help="folder with the built wheel, for tests/test_wheel.py")
