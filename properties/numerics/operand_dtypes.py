"""The floating operands of an attention kernel have one dtype.

Conditions
----------
The model computes attention with a fused kernel.

Why it matters
--------------
Most operations promote their operands to a common dtype, or refuse. ``scaled_dot_product_attention`` on CPU does neither for its additive
mask: float64 queries with a float32 mask give wrong values, silently, and a causal encoder layer that was turned to float64 looks into the
future.

Measured
--------
The number of calls whose additive mask has another dtype than the queries.

Error
-----
None: dtypes are compared.

When violated
-------------
Make the mask with ``dtype=query.dtype``, use a boolean mask, or ``is_causal=True``.

Limits
------
Only attention kernels are watched; torch promotes in elementwise operations.

Sources
-------
Measured with torch 2.13 on CPU: the output differs by 1.98 from that with a float64 mask; PyTorch documentation,
scaled_dot_product_attention: attn_mask must be boolean or of the same type as the query.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.operation_watch import OperationWatch
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property


def attention(operation_watch: OperationWatch) -> str | None:
    """A fused attention kernel ran."""
    return None if operation_watch.attentions else "no fused attention kernel ran"


def measure(operation_watch: OperationWatch) -> Iterator[Evidence]:
    for found in operation_watch.mixed:
        yield _evidence(1, Where(module=found.module, function=found.name, source=found.source),
                        f"mixed dtypes: {found.remark}; the result is wrong without a warning")
    if not operation_watch.mixed:
        yield _evidence(0, Where(), "")


def _evidence(count: int, where: Where, note: str) -> Evidence:
    return Evidence(quantity="attention calls with a mask of another dtype", value=float(count), error=0.0, low=0.0, high=0.0, where=where,
                    note=note)


_NET = Architecture(input_shape=(8, 8), layers=(layer("encoder", heads=2, hidden=16), layer("mean_over_time"), layer("dense", units=3)),
                    loss="mse")

PROPERTY = Property(
    measure=measure,
    conditions=(attention,),
    symptoms=("mixed dtypes in one operation", "wrong attention in float64"),
    holds_for=(_NET,),
    fails_for=(_NET.changed(defects=(Defect(kind="float32-mask", module="0"),)),),
)
