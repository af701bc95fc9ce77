"""Recurrent calls: how fast a gradient can fade or grow back in time, and what it is exactly without recurrent weights."""

import math
from typing import Any

import torch
from torch import nn

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.recurrent_calls import RecurrentCalls
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.execution import failures, floating, realise
from gradcheck_suite.probes.float64 import in_float64
from gradcheck_suite.probes.gradient_rows import norm
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Setup, Subject

Tensor = torch.Tensor
_CLASSES: dict[str, type[nn.RNNBase]] = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
_RECURRENT = (nn.RNN, nn.LSTM, nn.GRU)


def recurrent_calls(subject: Subject, budget: Budget, seed: int) -> RecurrentCalls:
    """Run each recurrent layer by itself (see ``captures.recurrent_calls``).

    Raises:
        NotApplicable: no single recurrent layer ran forward in time over a plain sequence of two steps or more, or the model does
            not run in float64.
        SubjectError: the subject failed.
    """
    setup = realise(subject, seed)
    with in_float64(setup) as wide:
        found = _watched(wide)
        if not found:
            raise NotApplicable("no recurrent layer of one layer and direction ran over two steps or more, from a zero state")
        rows = []
        with failures("a recurrent layer alone"):
            for path, (module, x) in found.items():
                with preserved(wide.model):
                    rows.append(_measured(module, x, derive(seed, path)))
    columns = {name: frozen([row[name] for row in rows]) for name in rows[0]}
    return RecurrentCalls(
        paths=tuple(found), kinds=tuple(_kind(module) for module, _ in found.values()),
        steps=frozen([x.shape[1] for _, x in found.values()], "<i8"), **columns,
    )


def _kind(module: nn.Module) -> str:
    return next(name for name, kind in _CLASSES.items() if isinstance(module, kind))


def _watched(setup: Setup) -> dict[str, tuple[Any, Tensor]]:
    """Layers by path with their input as (batch, time, features)."""
    found: dict[str, tuple[Any, Tensor]] = {}
    handles = []
    for path, module in setup.model.named_modules():
        if not isinstance(module, _RECURRENT) or module.num_layers > 1 or module.bidirectional or module.proj_size:
            continue

        def keep(module: Any, args: Any, kwargs: Any, output: Any, path: str = path) -> None:
            given = floating((args, kwargs))
            if path not in found and len(given) == 1 and isinstance(args[0] if args else None, Tensor) and given[0].dim() == 3:
                x = given[0] if module.batch_first else given[0].transpose(0, 1)
                if x.shape[1] > 1:
                    found[path] = module, x.detach().clone()

        handles.append(module.register_forward_hook(keep, with_kwargs=True))
    try:
        with failures("forward"), preserved(setup.model):
            setup.model(*setup.batch.args, **setup.batch.kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _pull(module: Any, x: Tensor, cotangent: Tensor) -> Tensor:
    """The gradient of <u, output at the last step> with respect to the sequence."""
    leaf = x.clone().requires_grad_()
    output = floating(module(leaf if module.batch_first else leaf.transpose(0, 1)))[0]
    last = output[:, -1] if module.batch_first else output[-1]
    (gradient,) = torch.autograd.grad(last, leaf, cotangent)
    return gradient


def _measured(module: Any, x: Tensor, seed: int) -> dict[str, float]:
    cotangent = torch.randn(len(x), module.hidden_size, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    excess = radius = math.nan
    if _kind(module) == "RNN":
        gradient = _pull(module, x, cotangent)
        into, radius = (float(torch.linalg.matrix_norm(w.detach(), 2)) for w in (module.weight_ih_l0, module.weight_hh_l0))
        steps = torch.arange(x.shape[1] - 1, -1, -1, dtype=x.dtype)
        bound = math.log(into) + steps * math.log(radius) if radius > 0 and into > 0 else torch.full_like(steps, -math.inf)
        sizes = torch.linalg.vector_norm(gradient, dim=2).log() - torch.linalg.vector_norm(cotangent, dim=1).log()[:, None]
        excess = float((sizes - bound).max())
    module.weight_hh_l0.data.zero_()
    gradient = _pull(module, x, cotangent)
    closed, gate = _closed_form(module, x, cotangent)
    residual = torch.linalg.vector_norm(gradient - closed, dim=(0, 2)).max()
    return {"excess": excess, "radius": radius, "residual": float(residual) / max(norm(closed), 1e-300), "gate": gate}


def _closed_form(module: Any, x: Tensor, u: Tensor) -> tuple[Tensor, float]:
    """The gradient with respect to the sequence without recurrent weights, and the geometric mean of the gate that carries the state."""
    weight: Tensor = module.weight_ih_l0.detach()
    none = torch.zeros(len(weight), dtype=weight.dtype)
    biases = (module.bias_ih_l0.detach(), module.bias_hh_l0.detach()) if module.bias else (none, none)
    kind = _kind(module)
    if kind == "RNN":
        h = nn.functional.linear(x, weight, biases[0] + biases[1])
        slope = 1 - torch.tanh(h).square() if module.nonlinearity == "tanh" else (h > 0).to(x.dtype)
        at_last = torch.zeros_like(h)
        at_last[:, -1] = u * slope[:, -1]
        return at_last @ weight, 0.0
    before = nn.functional.linear(x, weight)
    carried, gates = _lstm(before, biases, u) if kind == "LSTM" else _gru(before, biases, u)
    return carried @ weight, float(gates.log().mean().exp())


def _states(gate: Tensor, added: Tensor) -> Tensor:
    """s_t = gate_t s_{t-1} + added_t from s_0 = 0; returns s_0, ..., s_{T-1}, the states that each step starts from."""
    states = [torch.zeros_like(added[:, 0])]
    for step in range(added.shape[1]):
        states.append(gate[:, step] * states[-1] + added[:, step])
    return torch.stack(states, 1)


def _later(gate: Tensor) -> Tensor:
    """Product of the gates of all later steps."""
    later = torch.ones_like(gate)
    for step in range(gate.shape[1] - 2, -1, -1):
        later[:, step] = later[:, step + 1] * gate[:, step + 1]
    return later


def _lstm(before: Tensor, biases: tuple[Tensor, Tensor], u: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient with respect to W_ih x_t for c_t = f c_{t-1} + i g, h = o tanh(c); gates in torch's order i, f, g, o."""
    i, f, g, o = (before + biases[0] + biases[1]).chunk(4, -1)
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    states = _states(f, i * g)
    squashed = torch.tanh(states[:, -1])
    at_cell = (u * o[:, -1] * (1 - squashed.square()))[:, None] * _later(f)
    of_o = torch.zeros_like(o)
    of_o[:, -1] = u * squashed * o[:, -1] * (1 - o[:, -1])
    parts = (at_cell * g * i * (1 - i), at_cell * states[:, :-1] * f * (1 - f), at_cell * i * (1 - g.square()), of_o)
    return torch.cat(parts, -1), f


def _gru(before: Tensor, biases: tuple[Tensor, Tensor], u: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient with respect to W_ih x_t for n = tanh(. + r b), h_t = (1 - z) n + z h_{t-1}; gates in torch's order r, z, n."""
    r, z, n = (before + biases[0]).chunk(3, -1)
    of_r, of_z, of_n = biases[1].chunk(3)
    r, z = torch.sigmoid(r + of_r), torch.sigmoid(z + of_z)
    n = torch.tanh(n + r * of_n)
    states = _states(z, (1 - z) * n)
    at_state = u[:, None] * _later(z)
    at_n = at_state * (1 - z) * (1 - n.square())
    return torch.cat((at_n * of_n * r * (1 - r), at_state * (states[:, :-1] - n) * z * (1 - z), at_n), -1), z
