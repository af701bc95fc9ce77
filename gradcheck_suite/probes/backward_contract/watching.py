"""All custom Functions of one realisation, each watched alone."""

from collections.abc import Hashable, Iterator
from typing import Any

import torch

from gradcheck_suite.captures.backward_contract import BackwardContract, Clause
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes import declared
from gradcheck_suite.probes.backward_contract.isolated import watched
from gradcheck_suite.probes.configuration_sweep.draft import draft_of
from gradcheck_suite.probes.configuration_sweep.recording import Recording
from gradcheck_suite.probes.configuration_sweep.selection import swept
from gradcheck_suite.probes.configuration_sweep.trial import told
from gradcheck_suite.probes.configuration_sweep.varied import Varied
from gradcheck_suite.probes.directional_derivative.draws import Draws
from gradcheck_suite.probes.directional_derivative.experiment import FAILURES, linearize
from gradcheck_suite.probes.directional_derivative.functions import function_name, function_source, recorded
from gradcheck_suite.probes.directional_derivative.generators import Generators, sources
from gradcheck_suite.probes.directional_derivative.places import kind_of
from gradcheck_suite.probes.directional_derivative.record import Call
from gradcheck_suite.probes.directional_derivative.resets import Resets
from gradcheck_suite.probes.directional_derivative.units import Surroundings
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Setup


class Watching:
    """One realisation that is watched."""

    def __init__(self, setup: Setup, seed: int) -> None:
        self._setup, self._seed = setup, derive(seed, "backward_contract")
        self._intended = dict(setup.intended)
        self._known: set[Hashable] = set()
        self._functions: set[Any] = set()

    def run(self) -> BackwardContract:
        """Record, then watch what every module that somebody wrote calls, innermost modules first."""
        clauses: list[Clause] = []
        with Recording(self._setup, self._seed).made() as calls:
            for call in swept(calls):
                with preserved(call.module):
                    try:
                        clauses += self._of(call)
                    except FAILURES as error:
                        told(error)
        if not self._functions:
            raise NotApplicable("no custom Function is called")
        return BackwardContract(clauses=tuple(clauses), functions=len(self._functions))

    def _of(self, call: Call) -> Iterator[Clause]:
        draws = Draws(derive(self._seed, call.path))
        unit = self._unit(call, draws)
        functions = linearize(unit, draws).survey.functions
        with recorded(functions) as made, torch.enable_grad():
            unit.run()
        unit.reset()
        for function, args in list(made):
            key = (function, tuple(tuple(arg.shape) if isinstance(arg, torch.Tensor) else None for arg in args))
            if key not in self._known:
                self._known.add(key)
                self._functions.add(function)
                yield from self._clauses(call, function, args, draws)

    def _clauses(self, call: Call, function: Any, args: tuple[Any, ...], draws: Draws) -> Iterator[Clause]:
        try:
            seen = watched(function, args, draws)
        except FAILURES as error:
            told(error)
            return
        name = function_name(function)
        reason = declared.reason(self._intended, call.path, name)
        for clause, (count, of) in seen.counts.items():
            yield Clause(module=call.path, kind=kind_of(call.module), function=name, source=function_source(function), clause=clause,
                         count=count, of=of, detail=seen.details.get(clause, ""), intended=reason)

    def _unit(self, call: Call, draws: Draws) -> Varied:
        modules = list(call.module.modules())
        unit = Varied(draft_of(call), Surroundings(draws, Resets(call.module), Generators(sources(modules))))
        unit.call.state = unit.around.generators.read()
        return unit
