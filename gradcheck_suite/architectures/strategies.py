"""Hypothesis strategies: architectures that can be built, and batches for them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import prod
from typing import Unpack

from hypothesis import strategies as st

from gradcheck_suite.architectures.build import make_batch
from gradcheck_suite.architectures.defects import DEFECTS, hosts
from gradcheck_suite.architectures.domain import FLOW, Domain, DomainOptions, Form, Need, allowed, domain, need_of, step
from gradcheck_suite.architectures.drawing import Drawn, Spot, input_shape, next_layer, of_kind
from gradcheck_suite.architectures.draws import Draw, between, one_of
from gradcheck_suite.architectures.grammar import Place, output_shape, places
from gradcheck_suite.architectures.kinds import KINDS
from gradcheck_suite.architectures.losses import LOSSES, classes
from gradcheck_suite.architectures.values import VALUES
from gradcheck_suite.core.architecture import Architecture, Defect
from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.subject import Batch


def architectures(**options: Unpack[DomainOptions]) -> st.SearchStrategy[Architecture]:
    """Architectures, every one of which can be built, run and differentiated.

    The keywords and their defaults are those of ``Domain``; ``None`` stands for the default. Nothing is filtered: shapes
    are inferred while layers are drawn. Shrinking ends at few, narrow layers with default options on vectors.

    Raises:
        UsageError: a keyword or name is unknown, or nothing can be drawn from what is asked for.
    """
    return _architectures(domain(options))


def batches(architecture: Architecture, values: Iterable[str] | None = None) -> st.SearchStrategy[Batch]:
    """Batches for an architecture: a regime of values and a seed are drawn, never a tensor entry by entry.

    Raises:
        UsageError: the architecture is not valid, or a regime unknown.
    """
    regimes = tuple(VALUES if values is None else values)
    variants = {regime: architecture.changed(values=regime) for regime in regimes}
    for variant in variants.values():
        make_batch(variant, 0)
    if not variants:
        raise UsageError("no regimes of values", allowed=", ".join(VALUES))
    return st.builds(lambda regime, seed: make_batch(variants[regime], seed), st.sampled_from(regimes), seeds())


def seeds() -> st.SearchStrategy[int]:
    """Seeds of a model or a batch."""
    return between(0, 2**32 - 1)


@st.composite
def _architectures(draw: Draw, domain: Domain) -> Architecture:
    defect = draw(one_of(*domain.defects)) if domain.defects else ""
    need = need_of(defect) if defect else ("output", 0)
    form: Form = draw(one_of(*domain.input_kinds))
    shape = input_shape(draw, domain, form)
    vocabulary = draw(between(1, 8)) if form == "tokens" else 0
    spot = Spot(domain, form, shape, biased=need[0] == "bias")
    drawn, forms = _turns(draw, spot) if domain.alternating else _row(draw, spot, need)
    plain = Architecture(input_shape=shape, layers=tuple(one.layer for one in drawn), vocabulary=vocabulary)
    everywhere = places(plain)
    marks = [mark for one in drawn for mark in one.marks]
    strength = draw(one_of(*DEFECTS[defect].strengths)) if defect else 1.0
    output = everywhere[str(plain.depth - 1)].output_shape
    return plain.changed(
        loss=draw(one_of(*(loss for loss in domain.losses if not LOSSES[loss].classes or classes(output) > 1))),
        batch=draw(between(max(domain.batch[0], _fewest(everywhere, defect)), domain.batch[1])),
        values=draw(one_of(*domain.values)),
        initialization=draw(one_of(*domain.initializations)),
        optimizer=draw(one_of(*domain.optimizers)),
        training=draw(one_of(True, False)) if domain.training is None else domain.training,
        dtype=domain.dtype,
        defects=(Defect(kind=defect, module=_place(defect, everywhere, marks, forms), strength=strength),) if defect else (),
    )


def _row(draw: Draw, spot: Spot, need: Need) -> tuple[tuple[Drawn, ...], tuple[Form, ...]]:
    """Layers in a row, and the form of a sample before each of them."""
    depth = spot.domain.depth
    row: list[Drawn] = []
    forms: list[Form] = []
    while (drawn := draw(next_layer(spot, depth, need))) is not None:
        row.append(drawn)
        forms.append(spot.form)
        rest = step(spot.domain, spot.form, depth, need, drawn.layer.kind)
        assert rest is not None
        form, depth, need = rest
        spot = replace(spot, form=form, shape=output_shape(drawn.layer, spot.shape))
    return tuple(row), tuple(forms)


def _turns(draw: Draw, spot: Spot) -> tuple[tuple[Drawn, ...], tuple[Form, ...]]:
    """Layers with weights and activations in turn, as many activations as the domain's depth says."""
    fitting = [kind for kind in allowed(spot.domain, spot.form) if FLOW[kind][spot.form] == spot.form]
    weighted = one_of(*(kind for kind in fitting if KINDS[kind].family == "weighted"))
    activation = one_of(*(kind for kind in fitting if KINDS[kind].family == "activation"))
    row: list[Drawn] = []
    for turn in range(2 * draw(between(*spot.domain.depth)) + 1):
        row.append(of_kind(draw, draw(activation if turn % 2 else weighted), spot))
        spot = replace(spot, shape=output_shape(row[-1].layer, spot.shape))
    return tuple(row), (spot.form,) * len(row)


def _fewest(everywhere: Mapping[str, Place], defect: str) -> int:
    """The least number of samples: batch norm needs two values of a channel, some defects two samples."""
    single = any(place.layer.kind == "batch_norm" and prod(place.input_shape[1:]) == 1 for place in everywhere.values())
    return max(1 + single, DEFECTS[defect].samples if defect else 1)


def _place(kind: str, everywhere: Mapping[str, Place], marks: Iterable[int], forms: tuple[Form, ...]) -> str:
    """The module with the highest mark of those that have what the defect needs; where it cuts the graph, before a trainable one."""
    found = DEFECTS[kind]
    end = len(forms)
    if found.cuts:
        end = max(index for index in range(end) if hosts("gain", everywhere[str(index)]))
    fitting = {}
    for (path, place), mark in zip(everywhere.items(), marks, strict=True):
        top = int(path.partition(".")[0])
        timed = found.needs != "time" or FLOW[place.layer.kind][forms[top]] == "sequence"
        if top < end and timed and hosts(kind, place):
            fitting[path] = mark
    return max(fitting, key=fitting.__getitem__)
