"""Operations of one forward and backward pass: the first that makes a value that is not finite, and those at the edge of it."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation at one place.

    Attributes:
        name: of the torch operation, without underscores around it (``sqrt``, ``log``, ``div``, ``softmax``).
        phase: ``forward``, or ``backward`` for its derivative.
        module: path of the innermost module that ran it; ``None`` outside the model (in the loss).
        source: ``file:line`` of the user's code, where known.
        entries: entries concerned.
        smallest: least value among the operation's decisive argument, NaN where unknown.
        largest: largest value there.
        remark: what else is known of it, in words.
    """

    name: str
    phase: str
    module: str | None
    source: str | None
    entries: int = 0
    smallest: float = math.nan
    largest: float = math.nan
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationWatch:
    """One forward and backward pass of the subject, operation by operation.

    Attributes:
        loss: its value.
        finite_loss: whether it is finite.
        finite_gradients: whether all gradients of parameters are; True where there are none.
        operations: number of operations seen in the forward pass.
        attentions: number of fused attention kernels among them.
        producer: the first operation that made a value that is not finite out of finite ones, where loss or gradients are not.
        fragile: operations whose argument lies where their value or derivative is about to leave the normal range of its
            dtype, and for which a stable form exists.
        mixed: operations whose floating operands have different dtypes without torch promoting them.
    """

    loss: float
    finite_loss: bool
    finite_gradients: bool
    operations: int
    attentions: int
    producer: Operation | None
    fragile: tuple[Operation, ...]
    mixed: tuple[Operation, ...]

    @property
    def finite(self) -> bool:
        """Whether loss and gradients are finite."""
        return self.finite_loss and self.finite_gradients


STABLE_FORMS = {
    "log": "the log of a probability that has rounded to zero: use log_softmax, logsigmoid, cross_entropy or "
           "binary_cross_entropy_with_logits on the logits, or xlogy, or clamp(min=eps) before the log",
    "log2": "use log_softmax on the logits, or clamp(min=eps) before the log",
    "log10": "use log_softmax on the logits, or clamp(min=eps) before the log",
    "log1p": "its argument is -1 or less: clamp it above -1",
    "sqrt": "the derivative of the square root at 0 is infinite: add an eps inside, (x + eps).sqrt(), or take "
            "torch.linalg.vector_norm of the vector; a torch.where behind it does not help, one on its argument does",
    "rsqrt": "one over the square root of zero: add an eps inside",
    "reciprocal": "division by zero: clamp(min=eps) the denominator",
    "pow": "a power below one has an infinite derivative at 0: add an eps to the base",
    "norm": "the derivative of this norm at the zero vector is not defined: add an eps, or use torch.linalg.vector_norm",
    "div": "division by zero, such as a mean over an empty mask or 0/0: clamp(min=eps) the denominator or count",
    "exp": "exp overflows: subtract the maximum first (softmax, logsumexp), use softplus for log(1 + exp), sigmoid for exp/(1 + exp)",
    "expm1": "expm1 overflows: clamp its argument",
    "acos": "the derivative of acos at ±1 is infinite: clamp inside (-1, 1) by an eps, or use atan2",
    "asin": "the derivative of asin at ±1 is infinite: clamp inside (-1, 1) by an eps, or use atan2",
    "atanh": "atanh of ±1 is infinite: clamp inside (-1, 1) by an eps",
    "acosh": "the derivative of acosh at 1 is infinite: clamp above 1 by an eps",
    "tan": "tan overflows near its poles",
    "softmax": "a softmax row is masked everywhere: leave one entry or replace the row by zeros with torch.where on its argument",
    "safe_softmax": "a softmax row is masked everywhere",
    "linalg_eigh": "the derivative of eigenvectors is singular where eigenvalues coincide (eigh): separate them or avoid the vectors",
    "linalg_svd": "the derivative of singular vectors is singular where singular values coincide (svd)",
    "linalg_inv_ex": "the matrix is singular: add a multiple of the identity, or use solve",
    "linalg_solve_ex": "the matrix is singular: add a multiple of the identity",
    "linalg_cholesky_ex": "the matrix is not positive definite: add a multiple of the identity",
    "logsumexp": "all arguments are minus infinity: leave one entry in the mask",
    "mm": "a matrix product overflows: the values that enter it are too large for the dtype",
    "addmm": "a layer's output overflows: the values that enter it are too large for the dtype",
    "bmm": "a matrix product overflows: the values that enter it are too large for the dtype",
    "std": "the derivative of a standard deviation of equal values is not defined: take (variance + eps).sqrt()",
    "var": "the variance of one value divides by zero: use correction=0 or more values",
    "mean": "the mean over nothing is 0/0: count the entries first",
    "prod": "a product overflows: sum logarithms instead",
    "cumprod": "a product overflows: sum logarithms instead",
    "to_copy": "the value does not fit the narrower dtype: keep it in float32, or scale the loss",
    "digamma": "a pole of the digamma function",
    "lgamma": "a pole of the log-gamma function",
}

# Of these, the ones that fail only because what enters them is too large: no other form of theirs would do better.
OVERFLOWS = frozenset(("mm", "addmm", "bmm", "prod", "cumprod", "to_copy"))


def stable_form(name: str) -> str:
    """What to write instead of an operation where it fails, in words; ``""`` where nothing special is known."""
    return STABLE_FORMS.get(name, STABLE_FORMS.get(name.removeprefix("linalg_").removesuffix("_ex"), ""))
