"""The row that an embedding keeps for padding receives no gradient.

Conditions
----------
A trained ``nn.Embedding`` or ``nn.EmbeddingBag`` with a padding index runs and receives a gradient. Its table is looked up by its own
calls alone: it is not tied to another layer, and no penalty in the loss reads it.

Why it matters
--------------
Padding stands for nothing. A layer that says so by ``padding_idx``, and looks its rows up without it, trains the row: what a sample
gives then depends on how long the others in its batch are.

Measured
--------
The largest absolute value in the gradient of that row after one forward and backward pass of the subject's own objective, for each
embedding.

Error
-----
None: nothing is added to that row, so it is exactly zero.

When violated
-------------
Pass ``padding_idx`` on where the module, or a subclass with a ``forward`` of its own, calls ``functional.embedding`` or takes rows by
an index; look for hooks on the table.

Limits
------
A batch without padding shows only hooks: the note counts how often padding was looked up. Tied tables get a gradient from their other
use and are not judged.

Sources
-------
PyTorch documentation, torch.nn.Embedding: entries at ``padding_idx`` do not contribute to the gradient.
"""

from collections.abc import Iterator

from gradcheck_suite.captures.padding_rows import PaddingRows
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property


def measure(padding_rows: PaddingRows) -> Iterator[Evidence]:
    seen = padding_rows
    for place, path in enumerate(seen.paths):
        largest = float(seen.largest[place])
        yield Evidence(
            quantity="largest gradient in the padding row", value=largest, error=0.0, low=0.0, high=0.0,
            where=Where(module=path, parameter="weight", entry=(int(seen.index[place]),)), ruled_out=("rounding", "tied weights"),
            note=f"{seen.kinds[place]}: the row was looked up {seen.padded[place]} times; largest gradient in the table "
                 f"{seen.table[place]:.3g}",
        )


_LAYERS = (layer("embedding", units=4, padding=0), layer("tanh"), layer("mean_over_time"), layer("dense", units=3))
_NET = Architecture(input_shape=(6,), vocabulary=3, layers=_LAYERS, loss="mse", batch=6)
_LATER = (layer("embedding", units=4, padding=2), layer("gru", units=3), layer("last_step"))


def _planted(kind: str, strength: float) -> Architecture:
    return _NET.changed(defects=(Defect(kind=kind, module="0", strength=strength),))


PROPERTY = Property(
    measure=measure,
    symptoms=("padding row trained", "padding_idx ignored", "padding"),
    holds_for=(_NET, _NET.changed(layers=_LATER, dtype="float32", loss="")),
    fails_for=(_planted("ignored-padding", 1.0), _planted("shifted-gradient", 0.01)),
    domain={"kinds": ("embedding", "dense", "tanh", "layer_norm", "gru", "mean_over_time", "last_step", "residual"),
            "input_kinds": ("tokens",)},
)
