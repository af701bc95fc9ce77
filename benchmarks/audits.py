"""What a whole audit costs: CPU seconds of every process of it, start-up included.

``python -m benchmarks.audits [--only mlp lstm] [--budgets quick standard]`` prints a table and writes ``benchmarks/results/audits.md``.
Linux only: it adopts the processes that the command leaves behind, so as to count them.
"""

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional

from benchmarks.gradient_check import seconds
from benchmarks.workloads import BasicBlock, ConvBlock, readout

_SUBREAPER: Final = 36
NOTE: Final = ("CPU seconds of all processes, one thread, torch {}. Start-up (importing the command and the fork "
               "server) and the page are included. fb: one forward+backward in float32.")


def mlp() -> dict[str, Any]:
    """A perceptron of two hidden layers, 32 samples."""
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    return _classified(model, torch.randn(32, 16), 4)


class LastStep(nn.Module):
    """Two LSTM layers of 128 units, read at the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.LSTM(16, 128, 2, batch_first=True), nn.Linear(128, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From (batch, time, 16) to (batch, 5)."""
        read: torch.Tensor = self.head(self.body(x)[0][:, -1])
        return read


def lstm() -> dict[str, Any]:
    """40 time steps, 16 samples."""
    return _classified(LastStep(), torch.randn(16, 40, 16), 5)


class Language(nn.Module):
    """Four pre-norm encoder layers of width 128."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True, norm_first=True)
        self.tokens, self.head = nn.Embedding(100, 128), nn.Linear(128, 100)
        self.body = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """From (batch, tokens) to (batch·tokens, 100)."""
        logits: torch.Tensor = self.head(self.body(self.tokens(tokens)))
        return logits.flatten(0, 1)


def transformer() -> dict[str, Any]:
    """8 sequences of 32 tokens."""
    return {**_classified(Language(), torch.randint(100, (8, 32)), 100), "targets": torch.randint(100, (256,))}


def resnet20() -> dict[str, Any]:
    """He et al. (2016), for 32 x 32 images; four of them."""
    widths = [(16, 16, 1), (16, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 64, 1)]
    model = nn.Sequential(ConvBlock(3, 16), *[BasicBlock(*sizes) for sizes in widths], readout(64, 10))
    return _classified(model, torch.randn(4, 3, 32, 32), 10)


def _classified(model: nn.Module, inputs: torch.Tensor, classes: int) -> dict[str, Any]:
    return {"model": model, "inputs": inputs, "targets": torch.randint(classes, (len(inputs),)), "loss": functional.cross_entropy,
            "optimizer": lambda parameters: torch.optim.Adam(parameters, 1e-3)}


TARGETS: Final = {"mlp": mlp, "lstm": lstm, "transformer": transformer, "resnet20": resnet20}


def cpu_seconds(target: str, budget: str) -> float:
    """CPU seconds of one audit from the command line, of all its processes."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "gradcheck_suite", "audit", target, "--budget", budget, "-q", "--output-dir", folder]
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        total = 0.0
        while True:
            try:
                _, status, used = os.wait4(-1, 0)
            except ChildProcessError:
                return total
            if os.waitstatus_to_exitcode(status) in (2, 3):
                raise RuntimeError(f"the audit of {target} did not come about")
            total += used.ru_utime + used.ru_stime


def forward_backward(made: Mapping[str, Any]) -> float:
    """CPU seconds of one forward+backward in float32."""

    def once() -> None:
        made["loss"](made["model"](made["inputs"]), made["targets"]).backward()

    once()
    return seconds(once)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audits", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[*TARGETS], default=[*TARGETS])
    parser.add_argument("--budgets", nargs="+", default=["quick", "standard"])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = ["# What a whole audit costs", "", NOTE.format(torch.__version__), "",
            "| | parameters | fb, ms | " + " | ".join(f"{budget}, s" for budget in options.budgets) + " |",
            "|---|---|---|" + "---|" * len(options.budgets)]
    for name in options.only:
        made = TARGETS[name]()
        size, one = sum(p.numel() for p in made["model"].parameters()), 1e3 * forward_backward(made)
        cells = [f"{cpu_seconds(f'benchmarks.audits:{name}', budget):.1f}" for budget in options.budgets]
        rows.append(f"| {name} | {size} | {one:.1f} | " + " | ".join(cells) + " |")
        print(rows[-1], flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "audits.md").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
