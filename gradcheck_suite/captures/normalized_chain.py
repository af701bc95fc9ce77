"""Plain networks of equal blocks dense - norm - activation, read from a structure, and the gradient at each block."""

from dataclasses import dataclass

import numpy as np

from gradcheck_suite.captures.gradient_norm_draws import GradientNormDraws
from gradcheck_suite.captures.structure import Structure, Unit
from gradcheck_suite.core.errors import NotApplicable


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalizedChain:
    """L blocks of one width, one behind the other.

    Attributes:
        paths: the blocks' dense layers (L).
        width: units of every block and inputs of all but the first.
        activation: of every block.
        norm: kind of the normalisation.
    """

    paths: tuple[str, ...]
    width: int
    activation: Unit
    norm: str


def normalized_chain(structure: Structure, norms: tuple[str, ...], *, width: int, depth: int) -> NormalizedChain:
    """The leading blocks of the model; what follows the last block is not looked at.

    Raises:
        NotApplicable: there are fewer than ``depth`` equal blocks of at least ``width`` units; the text is the fact.
    """
    if structure.outside:
        raise NotApplicable(f"not a plain chain of layers: {structure.outside}")
    units = [unit for unit in structure.chain if unit.kind != "identity"]
    blocks: list[tuple[Unit, Unit, Unit]] = []
    for dense, norm, activation in zip(units[::3], units[1::3], units[2::3], strict=False):
        first = blocks[0] if blocks else (dense, norm, activation)
        same = (norm.kind, activation.kind, activation.settings) == (first[1].kind, first[2].kind, first[2].settings)
        if dense.kind != "dense" or len(dense.input_shape) != 1 or norm.kind not in norms or activation.weighted or not same:
            break
        if blocks and (dense.fan_in, dense.fan_out) != (first[0].fan_out, first[0].fan_out):
            break
        blocks.append((dense, norm, activation))
    if len(blocks) < depth or blocks[0][0].fan_out < width:
        wide = blocks[0][0].fan_out if blocks else 0
        raise NotApplicable(f"the model begins with {len(blocks)} equal blocks of dense layer, {' or '.join(norms)} and activation, "
                            f"{wide} units wide; the law needs {depth} of {width} units")
    dense, norm, activation = blocks[0]
    return NormalizedChain(paths=tuple(block[0].path for block in blocks), width=dense.fan_out, activation=activation, norm=norm.kind)


def growth(chain: NormalizedChain, draws: GradientNormDraws, skipped: int) -> tuple[np.ndarray, int]:
    """Growth of log squared gradient (over the batch) from the input of block L - skipped to that of block 1 + skipped.

    Returns:
        The growth in each draw (N), and the number of blocks it spans.
    """
    calls = list(zip(draws.paths, draws.kinds, strict=True))
    first, last = (calls.index((chain.paths[index], "Linear")) for index in (skipped, len(chain.paths) - 1 - skipped))
    grown: np.ndarray = draws.layer_gradient_batch[:, first - 1] - draws.layer_gradient_batch[:, last - 1]
    return grown, len(chain.paths) - 1 - 2 * skipped
