"""Every trainable parameter that outputs or loss depend on receives a gradient.

Conditions
----------
Some parameter requires a gradient, and loss and gradients are finite. A module that did not run, while another of its class
in the same list did (an expert among experts), says nothing and is left open.

Why it matters
--------------
A branch that is detached (``.detach()``, ``.data``, ``torch.no_grad()``, a round trip through NumPy, ``.item()``) computes
the right values and never learns. Nothing fails: the loss may even fall, by what the rest of the model can do alone.

Measured
--------
The number of backward passes, out of the three made, in which a parameter's gradient exists at all (``grad is not None``);
the least over the parameters of a module. One piece of evidence per module that is reached, one for all that ran and are not, which
names the last of them in the model's order, for the cut lies behind it; one for all that never ran; one for all whose parameters are
of no consequence: they are replaced by others, and outputs and loss stay as they are bit for bit; one for the whole model where no
parameter is reached.

Error
-----
None: existence is counted, not measured.

When violated
-------------
Look for a detached tensor between the module and the loss; where the module never ran, call it in ``forward`` or remove it; where
nothing depends on what it computes, use the result or remove the module.
A part that is meant to rest should say so with ``requires_grad_(False)``.

Limits
------
A gradient that exists and is zero is the subject of ``gradient-activity``. A module that never ran is an indicator: another
batch may use it. So is one whose result is not used: that it gets no gradient is right, since nothing depends on it.

Sources
-------
Baydin et al., Automatic differentiation in machine learning: a survey, JMLR 18 (2018), section 3.2: reverse mode reaches
exactly the variables with a path to the output in the recorded graph.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.first_steps import FirstSteps
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property

_NAMED = 6


def trainable(first_steps: FirstSteps) -> str | None:
    """The loss is connected to something, or there is something to connect."""
    return first_steps.unmet() if first_steps.connected else None


def measure(first_steps: FirstSteps) -> Iterator[Evidence]:
    if not first_steps.connected:
        yield _evidence(0, Where(module=""), "the loss is detached: no parameter of the model receives a gradient. "
                        "Look for detach(), .data, no_grad() or item() between the output and the loss")
        return
    cut: list[Where] = []
    unused: list[Where] = []
    idle: list[Where] = []
    for module, positions in first_steps.by_module().items():
        facts = [first_steps.parameters[position] for position in positions]
        where, count = _least(first_steps, module, positions)
        if count:
            yield _evidence(count, Where(module=module), "")
        elif all(fact.idle for fact in facts if fact.name == where.parameter):
            idle.append(where)
        elif any(fact.exercised for fact in facts):
            cut.append(where)
        elif any(fact.alternative for fact in facts):
            yield _evidence(float("nan"), where, "the module did not run on this batch, another of its list did")
        else:
            unused.append(where)
    if unused:
        yield _evidence(0, unused[0], f"the module never ran: not exercised by this batch, disconnected from the loss{_others(unused)}",
                        Level.INDICATOR)
    if idle:
        yield _evidence(0, idle[-1], "the module ran and nothing depends on the parameter: what is computed with it is not used, "
                        f"disconnected from the loss{_others(idle[::-1])}", Level.INDICATOR)
    if cut:
        others = f"; nor do {len(cut) - 1} modules before it" if len(cut) > 1 else ""
        yield _evidence(0, cut[-1], "the module ran and receives no gradient: a detached branch, disconnected from the loss, cut between "
                        f"this module and the loss{others}")


def _least(first_steps: FirstSteps, module: str, positions: tuple[int, ...]) -> tuple[Where, int]:
    """The parameter of a module that the fewest backward passes reach, and how many do; one that something depends on goes before."""
    reached = (~first_steps.missing).sum(axis=0)
    least = min(positions, key=lambda position: (int(reached[position]), first_steps.parameters[position].idle))
    return Where(module=module, parameter=first_steps.parameters[least].name), int(reached[least])


def _others(places: list[Where]) -> str:
    """Which modules the same is true of beside the first."""
    named = ", ".join(where.module or "the model itself" for where in places[1:_NAMED])
    return f"; the same is true of {len(places) - 1} more: {named}{', ...' if len(places) > _NAMED else ''}" if len(places) > 1 else ""


def _evidence(count: float, where: Where, note: str, level: Level | None = None) -> Evidence:
    return Evidence(quantity="backward passes that reach the parameter", value=float(count), error=0.0, low=1.0, high=float("inf"),
                    where=where, note=note, level=level)


_NET = Architecture(input_shape=(6,), layers=(layer("dense", units=8), layer("tanh"), layer("dense", units=3)), loss="mse")

PROPERTY = Property(
    measure=measure,
    conditions=(trainable,),
    symptoms=("detached branch", "no gradient", "disconnected", "part of the model does not learn"),
    holds_for=(_NET, _NET.changed(layers=(layer("residual", layer("dense", units=6), layer("relu")), layer("dense", units=2)))),
    fails_for=(_NET.changed(defects=(Defect(kind="detached", module="0"),)), _NET.changed(defects=(Defect(kind="detached", module="2"),))),
)
