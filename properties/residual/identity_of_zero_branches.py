"""A residual block whose branch is zero at the start hands every gradient on unchanged, bit for bit.

Conditions
----------
Some block with modules inside gives back its input bit for bit and holds a weight that is zero throughout (a zero last
layer, ReZero, Fixup, a zero output projection).

Why it matters
--------------
Blocks that start as the identity make depth harmless at the start: the gradient reaches every block at full size. A block
that scales, clips or drops the skip's gradient takes that away, and the loss does not show it.

Measured
--------
The number of bits in which the gradient at the block's input differs from a random cotangent at its output, the block alone
at the input the model gives it. Entries of that input that are exactly zero are left out: a rectifier after the sum is on its kink there.

Error
-----
None: the branch adds exact zeros.

When violated
-------------
Look at how the block joins skip and branch: the gradient of the sum must reach the skip as it is.

Limits
------
Blocks with stochastic depth or masks inside are judged as they run in the mode under test.

Sources
-------
Zhang et al. 2019, Fixup, arXiv:1901.09321; Bachlechner et al. 2021, ReZero, arXiv:2003.04887; Goyal et al. 2017,
arXiv:1706.02677, section 5.1 (zero-initialised last scale).
"""

from collections.abc import Iterator

from gradcheck_suite.captures.identity_blocks import IdentityBlocks
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.evidence import Evidence, Where
from gradcheck_suite.core.property import Property


def measure(identity_blocks: IdentityBlocks) -> Iterator[Evidence]:
    seen = identity_blocks
    for path, zero, bits, ratio in zip(seen.paths, seen.zeros, seen.bits, seen.norms, strict=True):
        note = f"identity because {zero} is zero" + (f"; the gradient's norm is multiplied by {ratio:.6g}" if bits else "")
        yield Evidence(quantity="bits in which the gradient changes", value=float(bits), error=0.0, low=0.0, high=0.0, unit="bits",
                       where=Where(module=path), note=note, ruled_out=("rounding",) if bits else ())


def _net(*defects: Defect) -> Architecture:
    block = layer("residual", layer("dense", units=8), layer("gelu"), layer("dense", units=5))
    zero = tuple(Defect(kind="zero-init", module=f"{index}.2") for index in range(3))
    return Architecture(input_shape=(5,), layers=(block, block, block), defects=(*zero, *defects))


PROPERTY = Property(
    measure=measure,
    symptoms=("vanishing gradient", "wrong gradient", "residual connection", "zero-initialised branch"),
    holds_for=(_net(), _net().changed(dtype="float32")),
    fails_for=(_net(Defect(kind="scaled-backward", module="1", strength=0.99)), _net(Defect(kind="scaled-row", module="2", strength=2.0))),
    domain=None,
)
