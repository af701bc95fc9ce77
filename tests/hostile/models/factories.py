"""Factories that fail, or return something else."""

import os
import sys
import time

import torch
from torch import nn

number = 3


def raises():
    return nn.Linear(3, 1 // 0)


def exits():
    sys.exit(0)


def vanishes():
    os._exit(3)


def never_returns():
    while True:
        time.sleep(1)


def returns_nothing():
    nn.Linear(3, 2)


def returns_a_class():
    return nn.Linear


def misspells_a_key():
    return {"model": nn.Linear(3, 2), "input": torch.ones(1, 3)}


def needs_an_argument(width):
    return nn.Linear(width, 2)


def takes_everything():
    return nn.Linear(1 << 30, 1 << 30)
