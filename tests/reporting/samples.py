"""Reports with realistic content: what renderers are tried on without an engine."""

import math
from collections.abc import Iterable
from dataclasses import replace

from gradcheck_suite.core.events import CheckFinished, Event, Note, Run, RunFinished, RunStarted, SubjectFacts, SubjectStarted
from gradcheck_suite.core.evidence import Evidence, Level, Verdict, Where
from gradcheck_suite.core.exhibits import Code, Curve, Histogram, Series, Table
from gradcheck_suite.core.finding import Finding, RemedyTrial, finding_id
from gradcheck_suite.core.report import Report, fold

STATEMENTS = {
    "backprop-agreement": "The gradient that backward computes is the derivative of what forward computes.",
    "gradient-scale-across-depth": "The gradient keeps its scale from the last layer to the first.",
    "forward-scale-across-depth": "The signal keeps its scale from the first layer to the last.",
    "living-units": "No unit is inactive on every sample.",
    "repeated-forward": "The same input and the same seed give the same output, bit for bit.",
    "sample-independence": "In eval mode the output for one sample does not depend on the others.",
    "finite-values": "Every activation, gradient and loss is finite.",
    "training-progress": "A hundred steps on one batch beat the best constant output.",
    "learning-rate-stability": "The learning rate is below the stability limit of the loss's curvature.",
    "future-independence": "An earlier position does not see a later one.",
    "buffers-after-eval": "A forward pass in eval mode leaves every buffer bitwise unchanged.",
    "optimizer-coverage": "The optimiser holds every trainable parameter once and nothing else.",
    "reduced-precision-agreement": "The float32 gradient agrees with its float64 twin.",
    "gradient-across-time": "The gradient reaches the first time step.",
}
FAMILIES = {
    "backprop-agreement": "correctness", "gradient-scale-across-depth": "initialization", "forward-scale-across-depth": "initialization",
    "living-units": "activations", "repeated-forward": "purity", "sample-independence": "purity", "finite-values": "numerics",
    "training-progress": "optimization", "learning-rate-stability": "optimization", "future-independence": "attention",
    "buffers-after-eval": "purity", "optimizer-coverage": "structure", "reduced-precision-agreement": "numerics",
    "gradient-across-time": "recurrence",
}
SCRIPT = """import torch
from demo.models import resnet

torch.manual_seed(3713081631934410656)
block = resnet().layer3[0].double()
x = torch.randn(4, 32, 8, 8, dtype=torch.float64, requires_grad=True)
u = torch.randn(4, 64, 4, 4, dtype=torch.float64)

(block(x) * u).sum().backward()
v, h = torch.randn_like(x), 6e-6
with torch.no_grad():
    numeric = ((block(x + h * v) - block(x - h * v)) * u).sum() / (2 * h)
print("analytic", (x.grad * v).sum().item(), "numeric", numeric.item())
"""
TRACE = """Fatal Python error: Segmentation fault

Current thread 0x00007f1c9a7fc740 (most recent call first):
  File "demo/kernels.py", line 88 in forward
  File "torch/nn/modules/module.py", line 1788 in _call_impl
  File "demo/models.py", line 41 in forward
"""


def finding(property_id: str, verdict: Verdict, subject: str = "resnet", **facts: object) -> Finding:
    """A finding with the texts that an engine would fill."""
    evidence = facts.get("evidence")
    where = evidence.where if isinstance(evidence, Evidence) else facts.get("where", Where())
    name = finding_id(property_id, subject, where, verdict)
    base = Finding(
        id=name, property=property_id, family=FAMILIES.get(property_id, "correctness"), level=Level.REQUIREMENT, symptoms=(),
        subject=subject, verdict=verdict, message=f"{property_id}: {verdict}: {evidence or facts.get('reason', '')}",
        statement=STATEMENTS.get(property_id, ""), where=where if isinstance(where, Where) else Where(),
        reproduce=f"gradcheck replay {name}",
    )
    return replace(base, **facts)  # type: ignore[arg-type]


def wrong_backward() -> Finding:
    """A custom backward that is 3 % off, in a block of a residual network."""
    steps = tuple(10.0 ** (-k / 2) for k in range(4, 19))
    errors = tuple(0.0312 + 0.4 * h * h + 1e-14 / h for h in steps)
    correct = tuple(max(0.4 * h * h + 1e-14 / h, 1e-13) for h in steps)
    evidence = Evidence(
        quantity="relative difference from the numeric gradient", value=0.03125, error=4.1e-10, low=0.0, high=1e-7,
        where=Where(module="layer3.0.act", parameter=None, entry=(2, 17, 3, 0), function="FusedGELU", source="demo/ops.py:41"),
        note="analytic / numeric is 0.969 in every entry: a constant factor is missing. The worst entry differs by 0.0841.",
        ruled_out=("nondeterminism", "kink (one branch signature at every step)", "reduced precision", "context of the call"),
        exhibits=(
            Curve(title="The difference does not shrink with the step", x_label="decimal logarithm of the step h",
                  y_label="relative difference", log_y=True, band=((-9.0, 0.0, 1e-7), (-2.0, 0.0, 1e-7)), series=(
                      Series(name="FusedGELU", x=tuple(map(math.log10, steps)), y=errors),
                      Series(name="torch.nn.GELU at the same place", x=tuple(map(math.log10, steps)), y=correct))),
            Table(title="Worst entries", columns=("entry", "analytic", "numeric", "ratio"), rows=(
                ("[2, 17, 3, 0]", 2.6072, 2.6913, 0.96875), ("[0, 4, 1, 1]", -1.9344, -1.9968, 0.96875),
                ("[3, 60, 2, 3]", 0.7721, 0.7970, 0.96876))),
            Code(title="Stand-alone script", text=SCRIPT, language="python"),
        ))
    return finding("backprop-agreement", Verdict.VIOLATED, evidence=evidence, ruled_out=evidence.ruled_out, symptoms=("wrong gradient",))


def vanishing() -> Finding:
    """A gradient that shrinks by 0.69 a block under an initialisation made for tanh."""
    blocks = tuple(float(index) for index in range(17))
    gradient = tuple(math.exp(-0.69 * (16 - x)) * (1 + 0.15 * math.sin(3 * x)) for x in blocks)
    forward = tuple(math.exp(-0.31 * x) * (1 + 0.1 * math.cos(2 * x)) for x in blocks)
    evidence = Evidence(
        quantity="slope of log RMS of the activation gradient per layer", value=-0.687, error=0.041, low=-0.12, high=0.12, resolution=0.05,
        unit="1/layer", where=Where(module="layer1"), ruled_out=("dead units", "clipping by the loss"),
        note="The gradient loses 4.8 decades on its way to the first layer; weights follow Glorot's law, which is made for tanh.",
        exhibits=(
            Curve(title="Signal and gradient, layer by layer", x_label="layer", y_label="RMS", log_y=True,
                  band=tuple((x, math.exp(-0.12 * (16 - x)), math.exp(0.12 * (16 - x))) for x in blocks),
                  series=(Series(name="activation", x=blocks, y=forward, error=tuple(0.2 * y for y in forward)),
                          Series(name="activation gradient", x=blocks, y=gradient, error=tuple(0.3 * y for y in gradient)))),
            Histogram(title="Slope over 32 initialisations", x_label="slope in 1/layer", edges=tuple(-0.80 + 0.02 * k for k in range(13)),
                      counts=(1, 1, 2, 3, 5, 6, 5, 4, 2, 1, 1, 1), marker=-0.687),
        ))
    remedies = (
        RemedyTrial(remedy="he-initialization", verdict=Verdict.HOLDS, value=-0.008, error=0.039, helps=True, note="variance 2 / fan-in"),
        RemedyTrial(remedy="batch-normalization", verdict=Verdict.HOLDS, value=0.062, error=0.045, helps=True),
        RemedyTrial(remedy="residual-connection", verdict=Verdict.INCONCLUSIVE, value=-0.151, error=0.063, helps=True),
        RemedyTrial(remedy="smaller-learning-rate", verdict=Verdict.VIOLATED, value=-0.687, error=0.041,
                    note="does not act at initialisation"),
    )
    return finding("gradient-scale-across-depth", Verdict.VIOLATED, evidence=evidence, ruled_out=evidence.ruled_out, remedies=remedies,
                   symptoms=("vanishing gradients",))


def dead_units() -> Finding:
    """An indicator: a candidate cause, a warning by itself."""
    evidence = Evidence(quantity="share of units that never activate", value=0.34, error=0.02, low=0.0, high=0.05,
                        where=Where(module="layer2.1.relu1"), note="22 of 64 units are zero on all 1 024 samples.")
    return finding("living-units", Verdict.VIOLATED, level=Level.INDICATOR, evidence=evidence, symptoms=("dead ReLU",))


def kink() -> Finding:
    """Undecided: no step keeps both points on one smooth piece."""
    evidence = Evidence(quantity="relative difference from the numeric gradient", value=0.002, error=0.004, low=0.0, high=1e-7,
                        where=Where(module="stem.pool", function="max_pool2d", source="demo/models.py:27"),
                        note="3 of 4 096 choices flip at the smallest step (indices of max_pool2d): a kink, not a wrong gradient.")
    return finding("backprop-agreement", Verdict.INCONCLUSIVE, evidence=evidence)


def segfault() -> Finding:
    """A subject that ends its own process."""
    return finding("training-progress", Verdict.ERROR, subject="fused-attention", where=Where(module="blocks.0.attn"),
                   reason="the child process died of SIGSEGV in forward of blocks.0.attn (stage: training)", details=TRACE)


def holding(subject: str = "resnet") -> tuple[Finding, ...]:
    """What holds, folded."""
    rows = (
        ("backprop-agreement", "largest relative difference", 3.1e-10, 2e-10, 0.0, 1e-7, 61),
        ("repeated-forward", "differing bits", 0.0, 0.0, 0.0, 0.0, 1),
        ("sample-independence", "largest change of another sample's output", 0.0, 0.0, 0.0, 0.0, 1),
        ("finite-values", "values that are not finite", 0.0, 0.0, 0.0, 0.0, 186),
        ("buffers-after-eval", "changed buffers", 0.0, 0.0, 0.0, 0.0, 40),
        ("optimizer-coverage", "parameters missing or held twice", 0.0, 0.0, 0.0, 0.0, 62),
        ("reduced-precision-agreement", "relative difference", 2.2e-6, 1e-7, 0.0, 3.5e-4, 62),
        ("training-progress", "share of the best constant's loss explained", 0.83, 0.04, 0.05, math.inf, 1),
    )
    return tuple(finding(name, Verdict.HOLDS, subject, places=places,
                         evidence=Evidence(quantity=quantity, value=value, error=error, low=low, high=high))
                 for name, quantity, value, error, low, high, places in rows)


def unmet(subject: str = "resnet") -> tuple[Finding, ...]:
    """What does not apply, with the unmet condition as a fact."""
    return (
        finding("future-independence", Verdict.NOT_APPLICABLE, subject, reason="the model declares no causal order and has no causal mask"),
        finding("gradient-across-time", Verdict.NOT_APPLICABLE, subject, reason="the input has no time axis"),
        finding("learning-rate-stability", Verdict.NOT_APPLICABLE, subject, reason="the subject has no optimiser", level=Level.INDICATOR),
    )


RUN = Run(id="20260314-091500-k7qa", seed=7, budget="standard",
          command=("gradcheck", "audit", "demo.models:resnet", "demo.models:fused_attention", "--seed", "7"),
          versions={"python": "3.12.4", "gradcheck-suite": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
          started="2026-03-14T09:15:00+00:00", checks_planned=14)
RESNET = SubjectFacts(name="resnet", target="demo.models:resnet", parameters=11_173_962, modules=(
    ("", "ResNet"), ("stem", "Sequential"), ("stem.pool", "MaxPool2d"), ("layer1", "Sequential"), ("layer2.1.relu1", "ReLU"),
    ("layer3.0", "BasicBlock"), ("layer3.0.act", "FusedActivation"), ("fc", "Linear")))
ATTENTION = SubjectFacts(name="fused-attention", target="demo.models:fused_attention", parameters=85_056, modules=(("", "Encoder"),))


def report_of(findings: Iterable[Finding], *, run: Run = RUN, subjects: tuple[SubjectFacts, ...] = (RESNET, ATTENTION),
              finished: bool = True, notes: tuple[str, ...] = ()) -> Report:
    """A report as a run would leave it: folded from events."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for item in findings:
        groups.setdefault((f"{item.family}/{item.property}", item.subject), []).append(item)
    planned = len(groups) if finished else run.checks_planned
    events: list[Event] = [RunStarted(run=replace(run, checks_planned=planned)), *(SubjectStarted(subject=subject) for subject in subjects)]
    events += [CheckFinished(property=name, subject=subject, findings=tuple(items), seconds=0.5)
               for (name, subject), items in groups.items()]
    events += [Note(text=text) for text in notes]
    return fold([*events, RunFinished(seconds=41.7)] if finished else events)


def mixed_report() -> Report:
    """Every verdict, with every kind of exhibit."""
    return report_of([wrong_backward(), vanishing(), dead_units(), kink(), segfault(), *holding(), *unmet()],
                     notes=("The process of fused-attention was started again after a crash.",))


def healthy_report() -> Report:
    """Nothing wrong."""
    return report_of([*holding(), *unmet()], subjects=(RESNET,))


def empty_report() -> Report:
    """A run that checked nothing."""
    return report_of([], subjects=())


def unfinished_report() -> Report:
    """A run that was stopped."""
    return report_of([wrong_backward(), *holding()[1:]], run=replace(RUN, checks_planned=60), finished=False)


def large_report(size: int = 5000) -> Report:
    """A great many findings, most of them violations with curves, over many subjects."""
    wrong, slope = wrong_backward(), vanishing()
    evidence = wrong.evidence
    assert evidence is not None
    found = []
    for index in range(size):
        subject, module = f"network-{index % 200:03d}", f"blocks.{index // 200}.linear"
        base = slope if index % 7 == 0 else wrong
        where = Where(module=module, parameter="weight", entry=(index % 64, index % 31))
        found.append(replace(base, id=finding_id("large", index), subject=subject, where=where))
    return report_of(found, subjects=tuple(SubjectFacts(name=f"network-{index:03d}", parameters=1000 + index) for index in range(200)))


HOSTILE = (
    "<script>window.pwned = 1</script>", "<img src=x onerror=\"window.pwned=1\">", "\"' onload=window.pwned=1 x='", "nul\x00byte",
    "two\nlines\r\nand more", "\u202egnirts desrever\u202c", "[/bold][red]markup[/red]", "]]><!-- --><x>&amp;", "{{ 7*7 }}{% raw %}",
    "::error file=a,line=1::owned", "a|b`c`*d*[e](javascript:alert(1)) @everyone #1", "\ud800 lone surrogate", "$\\frac{1}{0}$ %n %0A",
    "\x1b[31mred\x07", "w" * 400, "</style><style>body{display:none}", "https://example.invalid/x.png",
)


def hostile_report() -> Report:
    """Names and texts that mean something in every format that a renderer writes."""
    found = []
    for index, name in enumerate(HOSTILE):
        evidence = Evidence(
            quantity=name, value=1.0, error=0.1, low=0.0, high=0.5, unit=name, note=name, ruled_out=(name,),
            where=Where(module=name, parameter=name, entry=(index,), function=name, source=f"{name}:3"),
            exhibits=(
                Curve(title=name, x_label=name, y_label=name, log_y=True,
                      series=(Series(name=name, x=(0.0, 1.0, 2.0, 3.0, math.nan), y=(1.0, 0.0, math.inf, math.nan, -1.0)),)),
                Histogram(title=name, x_label=name, edges=(0.0, 1.0, math.inf), counts=(3, 4), marker=math.nan),
                Table(title=name, columns=(name, "n"), rows=((name, math.nan), (name, 3))),
                Code(title=name, text=name, language=name)))
        found.append(Finding(
            id=name if index % 2 else f"case{index}", property=name, family=name, level=Level.REQUIREMENT, symptoms=(name,),
            subject=name, verdict=evidence.verdict, message=name, where=evidence.where, evidence=evidence, ruled_out=(name,),
            reproduce=f"gradcheck replay {name}", statement=name,
            remedies=(RemedyTrial(remedy=name, verdict=Verdict.HOLDS, value=0.1, error=0.1, note=name),)))
        found.append(finding(name, Verdict.ERROR, name, where=Where(module=name), reason=name, details=name, message=name,
                             statement=name))
        found.append(finding(name, Verdict.NOT_APPLICABLE, name, family=name, property=f"{name}-unmet", reason=name, statement=name))
    subjects = tuple(SubjectFacts(name=name, target=name, parameters=1, modules=((name, name),)) for name in HOSTILE)
    return report_of(found, run=replace(RUN, command=HOSTILE, versions={"python": HOSTILE[0]}), subjects=subjects, notes=HOSTILE)
