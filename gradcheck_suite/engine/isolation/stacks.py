"""Stacks as ``faulthandler`` writes them, cut to what concerns the model."""

import re
from pathlib import Path
from typing import Final

_OURS: Final = str(Path(__file__).resolve().parents[2])
_NOT_THEIRS: Final = (_OURS, '"<string>"')
_LONGEST: Final = 6000
_ADDRESS: Final = re.compile(r"(?<=hread )0x[0-9a-f]+")


def users_stacks(text: str) -> str:
    """The stacks without our own frames, without threads that run nothing else, and without the list of extension modules."""
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.startswith(("Thread ", "Current thread ", "Fatal Python error", "Timeout (")):
            blocks.append([])
        if line.strip() and not line.startswith("Extension modules:") and not any(part in line for part in _NOT_THEIRS):
            blocks[-1].append(line)
    kept = [block for block in blocks if len(block) > 1 or (block and not block[0].startswith("Thread "))]
    return _numbered("\n".join(line for block in kept for line in block))[:_LONGEST]


def _numbered(text: str) -> str:
    """Threads by number instead of by address, so that the same crash reads the same."""
    addresses = list(dict.fromkeys(_ADDRESS.findall(text)))
    return _ADDRESS.sub(lambda found: str(addresses.index(found.group()) + 1), text)


def stage_in(stacks: str) -> str:
    """The innermost stage that stacks show (their innermost frame comes first); ``""`` where there is none."""
    for line in stacks.splitlines():
        if "_call_impl" in line:
            return "forward"
        if "torch/autograd/" in line:
            return "backward"
        if "torch/optim/" in line:
            return "step"
    return ""
