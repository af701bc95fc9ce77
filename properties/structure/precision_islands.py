"""No operation of the forward pass casts its numbers to a narrower type.

Conditions
----------
The forward pass runs. Regions of automatic mixed precision are meant to narrow, and do not count.

Why it matters
--------------
A hard ``.float()`` in a float64 model, or ``.half()`` in a float32 one, caps the precision of everything behind it. Casting the model to a
wider type does not help, and a check of its gradient cannot resolve more than the island lets through.

Measured
--------
The number of different lines that cast a floating tensor to a narrower floating type, by module, in one forward pass as in training. A
cast to the type of the module's own parameters caps nothing and does not count.

Error
-----
None: casts are counted.

When violated
-------------
Cast to the type of a parameter or input (``x.to(y.dtype)``) instead of to a fixed one; where the island is meant, leave it.

Limits
------
An indicator: an island may be deliberate, and it is not a wrong gradient.

Sources
-------
PyTorch documentation, Automatic mixed precision; Higham, Accuracy and Stability of Numerical Algorithms (2002), chapter 2.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.shipped_precision import Island, ShippedPrecision
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Level, Where
from gradcheck_suite.core.property import Property

QUANTITY = "lines that cast to a narrower type"


def by_module(islands: list[Island]) -> dict[str, list[Island]]:
    """The islands of each module, in order of execution."""
    found: dict[str, list[Island]] = {}
    for island in islands:
        found.setdefault(island.module, []).append(island)
    return found


def measure(shipped_precision: ShippedPrecision) -> Iterator[Evidence]:
    islands = [island for island in shipped_precision.islands if not island.autocast]
    for module, casts in by_module(islands).items():
        others = ", ".join(f"{cast.source} ({cast.cast})" for cast in casts[1:])
        yield Evidence(quantity=QUANTITY, value=float(len(casts)), error=0.0, low=0.0, high=0.0,
                       note=casts[0].cast + (f"; also {others}" if others else ""), where=Where(module=module, source=casts[0].source))
    if not islands:
        meant = len(shipped_precision.islands)
        note = f"{meant} casts in regions of automatic mixed precision" if meant else ""
        yield Evidence(quantity=QUANTITY, value=0.0, error=0.0, low=0.0, high=0.0, note=note)


_NET = Architecture(input_shape=(6,), dtype="float32", loss="mse",
                    layers=(layer("dense", units=8), layer("residual", layer("dense", units=8)), layer("dense", units=3)))

PROPERTY = Property(
    measure=measure,
    level=Level.INDICATOR,
    symptoms=("precision loss", "float32 inside float64", "half precision"),
    holds_for=(_NET,),
    fails_for=(_NET.changed(defects=(Defect(kind="half-island", module="1"),)),),
    domain=None,
)
