"""Forward effects: what a forward pass changed beside computing its output."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from gradcheck_suite.core.evidence import Evidence, Where

PARAMETER, BUFFER, INPUT, REGISTRY, GENERATOR, SETTING = "parameter", "buffer", "input", "registry", "generator", "setting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One change that a forward pass made.

    Attributes:
        kind: ``parameter``, ``buffer``, ``input``, ``registry`` (modules, parameters, buffers, hooks, ``requires_grad``, modes,
            ``.grad``), ``generator`` (a global generator was set to a state of the model's choice), or ``setting`` (default
            dtype, grad mode, threads, ...).
        mode: ``train`` or ``eval``: the mode of the model in the pass.
        module: path of the module that holds what changed; ``None`` where it belongs to none.
        name: of the parameter, buffer, input, registry or setting.
        entries: number of entries of which any bit changed (1 where that is no tensor).
        detail: what changed into what, in words.
    """

    kind: str
    mode: str
    module: str | None
    name: str
    entries: int
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardEffects:
    """Two forward passes in each mode, compared bit by bit with what was there before.

    Attributes:
        modes: the modes in which the forward pass ran: the subject's own first, then ``eval``.
        effects: every change, first seen in the order of modes.
        compared: how many things of each kind were compared (kind, count).
        failed: modes in which the forward pass raised, each with the error's text (mode, text).
    """

    modes: tuple[str, ...]
    effects: tuple[Effect, ...]
    compared: tuple[tuple[str, int], ...]
    failed: tuple[tuple[str, str], ...] = ()

    def of(self, kind: str, modes: Collection[str] = ("train", "eval")) -> tuple[Effect, ...]:
        """The effects of one kind in these modes, each place once."""
        found = {(effect.module, effect.name): effect for effect in reversed(self.effects) if effect.kind == kind and effect.mode in modes}
        return tuple(reversed(found.values()))

    def count(self, kind: str) -> int:
        """How many things of a kind were compared."""
        return dict(self.compared).get(kind, 0)

    def constancy(self, kind: str, things: str, modes: Collection[str] = ("train", "eval")) -> Iterator[Evidence]:
        """Evidence that nothing of a kind changed: one piece for each change, or one that counts what was compared."""
        quantity = f"entries that the forward pass changed in {things}"
        effects = self.of(kind, modes)
        for effect in effects:
            yield Evidence(quantity=quantity, value=float(effect.entries), error=0.0, low=0.0, high=0.0,
                           where=Where(module=effect.module, parameter=effect.name),
                           note=f"the forward pass changed {effect.name}: {effect.detail} ({effect.mode} mode)")
        if not effects:
            yield Evidence(quantity=quantity, value=0.0, error=0.0, low=0.0, high=0.0, note=f"{self.count(kind)} {things} compared")
