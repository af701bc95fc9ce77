"""Architecture: a network, its initialisation, loss and optimiser as plain data."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

Scalar = bool | int | float | str
Option = Scalar | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One node of the tree of layers.

    ``kind`` names an entry of the grammar (``gradcheck_suite.architectures.grammar``); ``options`` are its settings as
    sorted pairs, so that layers can be compared and hashed; ``layers`` are the layers inside (residual, concatenate,
    sequential), in order of execution.
    """

    kind: str
    options: tuple[tuple[str, Option], ...] = ()
    layers: tuple["Layer", ...] = ()

    def option(self, name: str, default: Option | None = None) -> Option | None:
        """The value of an option, or ``default`` where it is not set."""
        return dict(self.options).get(name, default)

    def walk(self, path: str = "") -> Iterator[tuple[str, "Layer"]]:
        """This layer and those inside it, each with its dotted module path."""
        yield path, self
        for index, inner in enumerate(self.layers):
            yield from inner.walk(f"{path}.{index}" if path else str(index))

    def __repr__(self) -> str:
        settings = [f"{name}={value!r}" for name, value in self.options]
        return f"{self.kind}({', '.join([*map(repr, self.layers), *settings])})"


def layer(kind: str, *layers: Layer, **options: Option) -> Layer:
    """``layer("dense", units=32)``, ``layer("residual", layer("dense", units=8), layer("relu"))``."""
    return Layer(kind, tuple(sorted(options.items())), layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """A planted fault: ``kind`` names an entry of ``gradcheck_suite.architectures.defects``, ``module`` its place.

    ``module`` is the dotted path of the layer in the built model (``"2"``, ``"3.0"``); ``strength`` is the fault's size
    where it has one (a factor on a gradient, a gain on a weight).
    """

    kind: str
    module: str
    strength: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Architecture:
    """A network as plain data; equal architectures built from equal seeds give equal numbers, bit for bit.

    Attributes:
        input_shape: one sample without its batch axis: ``(features,)``, ``(channels, length)``,
            ``(channels, height, width)``, ``(time, features)``, or ``(time,)`` for tokens.
        layers: in order of execution; the built model is an ``nn.Sequential`` with these as children ``"0"``, ``"1"``, ...
        batch: number of samples.
        values: the regime of the input's values (``normal``, ``large``, ``tiny``, ``zeros``, ``integers``, ``ties``,
            ``one-hot``, ``masked``).
        vocabulary: number of distinct tokens where the input is tokens, else 0.
        initialization: by name, applied to every weight of dense, convolutional and recurrent layers.
        loss: by name; ``""`` contracts the output with a random cotangent.
        optimizer: by name.
        learning_rate: of the optimiser.
        dtype: ``float64`` or ``float32``.
        training: train or eval mode.
        defects: planted faults.
    """

    input_shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    batch: int = 4
    values: str = "normal"
    vocabulary: int = 0
    initialization: str = "torch-default"
    loss: str = ""
    optimizer: str = "sgd"
    learning_rate: float = 0.01
    dtype: str = "float64"
    training: bool = True
    defects: tuple[Defect, ...] = ()

    def changed(self, **facts: object) -> "Architecture":
        """A copy with some fields replaced."""
        return replace(self, **facts)  # type: ignore[arg-type]

    def walk(self) -> Iterator[tuple[str, Layer]]:
        """Every layer with its dotted module path, containers before what is inside them."""
        for index, inner in enumerate(self.layers):
            yield from inner.walk(str(index))

    @property
    def depth(self) -> int:
        """Number of layers at the top level."""
        return len(self.layers)

    def to_python(self, seed: int = 0, *, check: bool = False) -> str:
        """A stand-alone PyTorch script that gives the numbers of this architecture built from the seed.

        With ``check`` it also compares every gradient with a finite difference. See ``gradcheck_suite.architectures.script``.
        """
        from gradcheck_suite.architectures.script import to_python

        return to_python(self, seed, check=check)

    def __repr__(self) -> str:
        shown = [f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if getattr(self, field.name) != field.default]
        return f"Architecture({', '.join(shown)})"
