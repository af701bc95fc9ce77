"""What a short training on one fixed batch reached, against yardsticks that come from the subject's own loss."""

import math
from dataclasses import dataclass, field

import numpy as np

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.unit_activity import LayerActivity
from gradcheck_suite.core.exhibits import Curve, Series
from gradcheck_suite.core.property import NoFailure

# A set-up that explains less than a twentieth of the best constant's loss learnt nothing: a convention for few initialisations.
BEATEN = 0.05
HORIZON = 100
# Student's t at 2.5 % in each tail, by degrees of freedom.
_T = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776}
LEARNING_RATE, ZEROED, DEALT = "learning rate", "zeroed inputs", "dealt targets"
PAIRS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One training: the subject's own, or one with a single thing changed.

    Attributes:
        change: what was changed, ``""`` for the subject's own set-up.
        factor: by which the learning rate was multiplied, 1 elsewhere.
        losses: (S,) loss before each step and after the last, in units of the loss; it ends with the first value that is not
            finite, and a trial's after a third of the steps where it is no better than the set-up itself.
        constant: loss of the best constant output, in the same units; NaN where none could be found.
        constant_error: what a second search from there still gained.
        error: the exception that ended the training, ``""`` for none.
        weight_norms: (S - 1,) Euclidean norm of all trainable parameters before each step; empty for trials.
        gradient_norms: (S - 1,) Euclidean norm of the gradient at each step; empty for trials.
    """

    change: str
    losses: np.ndarray
    constant: float
    constant_error: float
    factor: float = 1.0
    error: str = ""
    weight_norms: np.ndarray = field(default_factory=lambda: frozen([]))
    gradient_norms: np.ndarray = field(default_factory=lambda: frozen([]))

    @property
    def finite(self) -> bool:
        """Whether all losses are finite and nothing was raised."""
        return bool(np.isfinite(self.losses).all()) and not self.error and self.losses.size > 0

    def growth(self, norms: np.ndarray) -> tuple[float, float] | None:
        """The change of a norm from the first step to the last tenth of the steps in decades, and half of its range over that tenth.

        ``None`` for fewer than ten steps with a norm that is finite and not zero.
        """
        known = np.log10(norms[np.isfinite(norms) & (norms > 0)])
        if known.size < 10:
            return None
        last = known[-(known.size // 10):] if known.size >= 20 else known[-2:]
        return float(last.mean() - known[0]), float(np.ptp(last)) / 2.0

    @property
    def reached(self) -> float:
        """Mean loss over the last tenth of the steps; infinite where the training broke off."""
        return float(self.losses[-max(1, self.losses.size // 10):].mean()) if self.finite else math.inf

    @property
    def gain(self) -> float:
        """(constant - reached) / |constant|: 0 is no better than the best constant output, 1 is a loss of zero."""
        if not math.isfinite(self.constant) or self.constant == 0.0:
            return math.nan
        return (self.constant - self.reached) / abs(self.constant) if self.finite else -math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """The least loss that free outputs can have, with and without the functions that end the model.

    Attributes:
        functions: the elementwise functions and softmaxes at the end of the model, innermost first.
        module: path of the module that applies the innermost of them, where one does.
        inside: least loss found with outputs inside the range of all of them.
        outside: least loss found with some of the innermost ones, or all, left out, the loss being bounded below there.
        dropped: how many of them, innermost first, ``outside`` leaves out.
    """

    functions: tuple[str, ...]
    module: str | None
    inside: float
    outside: float
    dropped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """Where a training stopped being finite.

    Attributes:
        step: after how many steps.
        parameters: whether the parameters themselves were not finite before the forward pass, so that a step did it.
        operation: the first operation that made a value that is not finite of finite ones, ``""`` where none was found.
        phase: ``forward``, ``backward`` or ``""``.
        module: path of the module it ran in, where known.
        source: ``file:line`` of the user's code, where known.
        largest: largest value of its decisive argument.
        smallest: least value of that.
    """

    step: int
    parameters: bool
    operation: str = ""
    phase: str = ""
    module: str | None = None
    source: str | None = None
    largest: float = math.nan
    smallest: float = math.nan

    @property
    def size(self) -> float:
        """Largest magnitude among the operation's inputs."""
        return max(abs(self.largest), abs(self.smallest))


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """The short training and what it is compared with.

    Attributes:
        attempts: the subject's own set-up, one per initialisation; one where it explains more than half of the best constant's loss,
            else three. Trials begin where the first begins, which fails where the mean of them does.
        trials: the same with one thing changed, from the initialisation of the first attempt, run only where the subject's own set-up
            explains less than half, and not for a subject with a remedy applied.
        twins: gains of trainings on inputs that say nothing, each from the initialisation of an attempt of its own: ``(attempt's gain,
            twin's gain)``; run only where an attempt gains a little, until one twin is no worse.
        dealt: gains of trainings on targets dealt to the samples at random; run only where no twin was as good.
        steps: steps of one attempt.
        intended: steps that the owner means to train, 0 where unknown.
        samples: number of samples in the batch, 0 where the outputs have no common leading axis.
        reach: what the last activation leaves within reach, where there is one.
        direct: share of the initial loss that no output can change, where the loss depends on the parameters directly
            (a penalty on weights), else 0.
        standardised_start: first loss of the first attempt on inputs of mean 0 and standard deviation 1; NaN without numeric inputs.
        unbounded: whether a constant output drives the loss below every bound that was tried.
        breakdown: where the first attempt stopped being finite.
        activity: units of the first attempt's model after its last step.
        activity_at_start: the same before its first step.
        optimizer: class name of the optimiser.
        learning_rate: of its first group, NaN where it has none.
    """

    attempts: tuple[Attempt, ...]
    trials: tuple[Attempt, ...]
    steps: int
    intended: int
    samples: int
    reach: Reach | None
    direct: float
    standardised_start: float
    unbounded: bool
    breakdown: Breakdown | None
    activity: tuple[LayerActivity, ...]
    optimizer: str
    learning_rate: float
    twins: tuple[tuple[float, float], ...] = ()
    dealt: tuple[float, ...] = ()
    activity_at_start: tuple[LayerActivity, ...] = ()

    @property
    def own(self) -> Attempt:
        """The first attempt of the subject's own set-up."""
        return self.attempts[0]

    @property
    def gain(self) -> float:
        """Mean gain over the attempts (see ``Attempt.gain``), of several each counting as no worse than -1.

        One initialisation that begins beyond the best constant output by luck does not hide others that never get there.
        """
        return _mean([attempt.gain for attempt in self.attempts])

    @property
    def half_width(self) -> float:
        """Half-width of the 95 % t interval of ``gain`` over the attempts; infinite for one attempt."""
        gains = [max(attempt.gain, -1.0) for attempt in self.attempts]
        if len(gains) < 2:
            return math.inf
        return _T.get(len(gains) - 1, 2.6) * float(np.std(gains, ddof=1)) / math.sqrt(len(gains))

    @property
    def explains(self) -> bool:
        """Whether the subject explains more than half of the best constant's loss: there is no failure to explain."""
        return self.gain > 0.5

    @property
    def outlook(self) -> float:
        """Mean gain after the owner's number of steps, if the loss went on falling as it did.

        The fall per third of the probe is continued as a geometric series with the ratio of the last two thirds, at most 1: a loss that
        falls ever more slowly comes to rest, one that falls evenly goes on along its tangent. Where the owner's number is not
        known, a probe shorter than a hundred steps is continued to a hundred. A loss that ends above its start is not expected to fall,
        one that was never negative not to become so. NaN where the probe is as long already, or a training
        broke off.
        """
        intended = self.intended or HORIZON
        if intended <= self.steps or not all(attempt.finite for attempt in self.attempts):
            return math.nan
        gains = []
        for attempt in self.attempts:
            fall = _further_fall(attempt.losses, intended - self.steps) if attempt.reached < attempt.losses[0] else 0.0
            expected = attempt.reached - fall
            expected = max(expected, 0.0) if attempt.losses.min() >= 0 else expected
            gains.append((attempt.constant - expected) / abs(attempt.constant) if attempt.constant else math.nan)
        return _mean(gains)

    @property
    def failing(self) -> bool:
        """Whether the set-up learns nothing: it breaks off, or does not beat the best constant output and is not about to."""
        return not self.own.finite or (self.gain < BEATEN and not self.outlook >= BEATEN)

    def nothing_to_explain(self) -> str | None:
        """That the set-up learns, as a fact; ``None`` where it does not, so that a cause is wanted."""
        if self.failing:
            return None
        return NoFailure(f"the training probe explains {self.gain:.0%} of the best constant output's loss: there is no failure to explain")

    def untried(self, fact: str) -> str:
        """Why a trial of some kind is missing: ``fact``, or that there are none of any kind, for this subject has a remedy applied."""
        return fact if self.trials else "the set-up fails as before, and no further trial was run"

    def advantage(self, trial: Attempt) -> float:
        """How much more of the best constant's loss a trial explains than the set-up itself, which counts as no worse than -1.

        A trial that breaks off counts as -1 too: it explains nothing.
        """
        return max(trial.gain, -1.0) - max(self.own.gain, -1.0) if not math.isnan(trial.gain) else 0.0

    def above_floor(self) -> bool:
        """Whether something is learnt of the inputs although it is little: the loss may have a high floor.

        That is so where every attempt gains more than its twin from the same initialisation (a sign test over ``PAIRS`` pairs, 3 % in one
        tail), the least by more than the attempts differ, where no trial does better by half of the best constant's loss, and where
        targets dealt at random are not explained as well.
        """
        gains = [own for own, _ in self.twins]
        if len(gains) < PAIRS or self.unpaired() or any(self.advantage(trial) > 0.5 for trial in self.trials):
            return False
        return min(gains) > 0 and min(own - twin for own, twin in self.twins) > max(gains) - min(gains)

    def unpaired(self) -> bool:
        """Whether targets dealt to the samples at random are explained as well, within the 95 % t interval of one more deal."""
        if len(self.dealt) < PAIRS:
            return False
        width = _T[PAIRS - 1] * float(np.std(self.dealt, ddof=1)) * math.sqrt(1.0 + 1.0 / len(self.dealt))
        return float(np.mean([own for own, _ in self.twins])) - float(np.mean(self.dealt)) <= width

    def curve(self) -> Curve:
        """The losses of all initialisations, each over its own best constant's loss."""
        lines = [_line(f"initialisation {index}", attempt) for index, attempt in enumerate(self.attempts)]
        return Curve(title="Short training", x_label="step", y_label="loss / loss of the best constant output",
                     series=tuple(line for line in lines if line.x), log_y=all(min(line.y, default=1.0) > 0 for line in lines))

    def comparison(self, trial: Attempt, name: str) -> Curve:
        """The losses of the set-up and of a trial, each over its own best constant's loss."""
        lines = [_line("as it is", self.own), _line(name, trial)]
        return Curve(title="Short training", x_label="step", y_label="loss / loss of the best constant output",
                     series=tuple(line for line in lines if line.x), log_y=all(min(line.y, default=1.0) > 0 for line in lines))

    def trial(self, change: str) -> tuple[Attempt, ...]:
        """The trials of one kind of change."""
        return tuple(trial for trial in self.trials if trial.change == change)


def norm_curve(norms: np.ndarray, what: str) -> Curve:
    """The norms (S) of what is named, step by step, where they are finite and not zero."""
    known = np.flatnonzero(np.isfinite(norms) & (norms > 0))
    line = Series(name=f"norm of the {what}", x=tuple(map(float, known)), y=tuple(map(float, norms[known])))
    return Curve(title=f"{what.capitalize()} over the short training", x_label="step", y_label="norm", series=(line,), log_y=True)


def _mean(gains: list[float]) -> float:
    return gains[0] if len(gains) == 1 else float(np.mean([max(gain, -1.0) if not math.isnan(gain) else gain for gain in gains]))


def _further_fall(losses: np.ndarray, steps: int) -> float:
    """The fall over further steps: a geometric series of the falls over the last two thirds; 0 where the last third did not fall."""
    third = max(2, losses.size // 3)
    before, after = (-third * float(np.polyfit(np.arange(third), part, 1)[0]) for part in (losses[-2 * third : -third], losses[-third:]))
    if after <= 0:
        return 0.0
    ratio = min(1.0, after / before) if before > 0 else 1.0
    thirds = steps / third
    return after * (thirds if ratio == 1.0 else ratio * (1.0 - ratio**thirds) / (1.0 - ratio))


def _line(name: str, attempt: Attempt) -> Series:
    """The finite losses of an attempt over the constant's, against the step."""
    scale = abs(attempt.constant) if attempt.constant and math.isfinite(attempt.constant) else 1.0
    known = np.flatnonzero(np.isfinite(attempt.losses))
    return Series(name=name, x=tuple(float(step) for step in known), y=tuple(float(loss / scale) for loss in attempt.losses[known]))
