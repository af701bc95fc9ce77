"""An architecture as a stand-alone PyTorch script that gives the very numbers of ``build``, ``make_batch`` and the loss."""

from gradcheck_suite.architectures.program import batch_source, loss_source, model_source, names, needed, optimizer_source, shapes
from gradcheck_suite.architectures.subjects import title
from gradcheck_suite.core.architecture import Architecture
from gradcheck_suite.core.seeds import derive

_IMPORTS = {
    "copy": "import copy", "math": "import math", "Callable": "from collections.abc import Callable", "Any": "from typing import Any",
}  # fmt: skip
_FROM_TORCH = ("Tensor", "nn")


def to_python(architecture: Architecture, seed: int = 0, *, check: bool = False) -> str:
    """The script: it prints the loss, the norm of every gradient and the loss after one step of the optimiser.

    It imports nothing but torch. With ``check`` it also compares, for the input and every parameter, the gradient along a
    random direction with a finite difference: the columns are ``analytic``, ``numeric``, its ``error`` and their ``ratio``.

    Raises:
        UsageError: the architecture is not valid.
    """
    shapes(architecture)
    makers = [model_source(architecture), batch_source(architecture), optimizer_source(architecture), loss_source(architecture)]
    main = _main(architecture, seed, check)
    definitions = [*needed(*makers, main), *makers]
    used = set().union(*map(names, [*definitions, main]))
    lines = [f'"""Gradients of {title(architecture)}, seed {seed}."""', "", "from __future__ import annotations", ""]
    lines += [line for name, line in _IMPORTS.items() if name in used]
    lines += ["", "import torch", f"from torch import {', '.join(name for name in _FROM_TORCH if name in used)}"]
    lines += ["from torch.nn import functional"] if "functional" in used else []
    return "\n\n\n".join(text.strip() for text in ["\n".join(lines), *definitions, main]) + "\n"


def _main(architecture: Architecture, seed: int, check: bool) -> str:
    compared = f"compare(model, inputs, targets, lambda output, targets: loss_function(output, targets, model), {seed})"
    lines = [
        "torch.set_default_dtype(torch.float64)  # everything is drawn in float64",
        f"model = make_model({derive(seed, 'model')})",
        f"inputs, targets = make_batch({derive(seed, 'batch')})",
        *([] if architecture.vocabulary else ["inputs.requires_grad_()"]),
        f"torch.manual_seed({seed})",
        "loss = loss_function(model(inputs), targets, model)",
        "loss.backward()",
        'print(f"loss {loss.item():.17g}")',
        'for name, tensor in {"inputs": inputs, **dict(model.named_parameters())}.items():',
        "    if tensor.grad is not None:",
        '        print(f"gradient of {name}: norm {tensor.grad.norm().item():.17g}")',
        *([compared] if check else []),
        "parameters = list(model.parameters())",
        "if parameters:",
        "    make_optimizer(parameters, model).step()",
        f"    torch.manual_seed({seed})",
        '    print(f"loss after one step {loss_function(model(inputs), targets, model).item():.17g}")',
    ]
    return 'if __name__ == "__main__":\n' + "".join(f"    {line}\n" for line in lines)
