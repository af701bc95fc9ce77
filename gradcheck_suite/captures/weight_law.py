"""The variance of every weight against the variances that known initialisations give."""

import math
from dataclasses import dataclass

CLOSE = 0.1
LAWS = {
    "He (fan-in)": lambda fan_in, fan_out: 2.0 / fan_in,
    "He (fan-out)": lambda fan_in, fan_out: 2.0 / fan_out,
    "Glorot": lambda fan_in, fan_out: 2.0 / (fan_in + fan_out),
    "LeCun": lambda fan_in, fan_out: 1.0 / fan_in,
    "torch's default": lambda fan_in, fan_out: 1.0 / (3.0 * fan_in),
    "orthogonal": lambda fan_in, fan_out: 1.0 / max(fan_in, fan_out),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSample:
    """One weight at initialisation.

    Attributes:
        module: path of the module that owns it.
        name: within that module.
        kind: class name of the module.
        size: number of entries.
        fan_in: inputs summed by one output.
        fan_out: outputs fed by one input, as PyTorch counts them: all output channels, also of a grouped convolution.
        groups: of a convolution; one input feeds ``fan_out / groups`` outputs, and some initialisers count them so.
        mean_square: mean of the squared entries.
        kurtosis: mean fourth power over the squared mean square (3 for a normal, 1.8 for a uniform law).
        last: whether no other weight of the model ran after it.
    """

    module: str
    name: str
    kind: str
    size: int
    fan_in: int
    fan_out: int
    mean_square: float
    kurtosis: float
    last: bool
    groups: int = 1

    def deviation(self, law: str) -> float:
        """Natural logarithm of the mean square over the law's variance, by the count of outputs to which it is nearer."""
        if not self.mean_square > 0:
            return -math.inf
        counts = (self.fan_out, self.fan_out // self.groups)
        return min((math.log(self.mean_square / LAWS[law](self.fan_in, count)) for count in counts), key=abs)

    def follows(self, law: str) -> bool:
        """Whether the mean square is within ten per cent, or five standard errors, of the law's variance."""
        return abs(self.deviation(law)) < max(CLOSE, self.half_width(5.0))

    @property
    def nearest(self) -> str:
        """The known law with the nearest variance."""
        return min(LAWS, key=lambda law: abs(self.deviation(law)))

    def half_width(self, z: float) -> float:
        """Half-width of the confidence interval of ``deviation``: z sqrt((kurtosis - 1) / size), the delta method on the variance.

        A measured kurtosis below that of a normal law is not trusted: few entries cannot show it.
        """
        return z * math.sqrt((max(self.kurtosis, 3.0) - 1.0) / self.size)


# A weight whose standard deviation is ten times off what all others follow; in the logarithm of the variance.
ODD = 2.0 * math.log(10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightLaw:
    """Every trainable weight with at least two axes that ran, in order of execution; frozen ones were drawn elsewhere.

    Attributes:
        weights: one sample per weight.
        alpha: bound on the false-alarm rate of one statement about all of them.
    """

    weights: tuple[WeightSample, ...]
    alpha: float

    def common(self) -> str:
        """The law that most of the weights follow closely, at least two of three; ``""`` where there is none."""
        count, law = max(((sum(weight.follows(name) for weight in self.weights), name) for name in LAWS), default=(0, ""))
        return law if len(self.weights) > 2 and count > len(self.weights) / 2 else ""
