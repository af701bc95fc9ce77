"""Captures: what probes saw. Frozen dataclasses of numbers, text and read-only numpy arrays; no torch inside.

Each capture type lives in the file that is named after its probe (``captures/backward_pass.py`` holds ``BackwardPass``), and
states shapes and units in its docstring. ``codec`` turns any of them into bytes and back.
"""
