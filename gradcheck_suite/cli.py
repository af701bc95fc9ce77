"""The command line: ``gradcheck audit | search | replay | report | compare | list | explain | doctor | new``.

Exit codes: 0 no new failure · 1 a violated requirement or an error · 2 usage or configuration error, or a target that could not
be imported or built · 3 internal error · 4 inconclusive only · 5 nothing to check · 130/143 interrupted.
"""

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.evidence import Level

if TYPE_CHECKING:
    from gradcheck_suite.commands.checking import Choice
    from gradcheck_suite.commands.execution import Outputs
    from gradcheck_suite.config import Config

_TARGET_FORMS = "pkg.module:factory, path/file.py:factory, timm:NAME, torchvision:NAME, hf:NAME"

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
                  help="Property-based diagnostics for neural-network gradients.")


class BudgetName(StrEnum):
    """Sizes of a run."""

    QUICK = "quick"
    STANDARD = "standard"
    THOROUGH = "thorough"


class IsolationName(StrEnum):
    """Where the model runs."""

    PROCESS = "process"
    NONE = "none"


Select = Annotated[list[str] | None, typer.Option("--select", "-s", help="Property ids, families or symptoms to check (repeatable).")]
Ignore = Annotated[list[str] | None, typer.Option("--ignore", help="Property ids, families or symptoms to leave out (repeatable).")]
Budget = Annotated[BudgetName | None, typer.Option("--budget", "-b", help="Size of the run.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")]
Folders = Annotated[list[Path] | None, typer.Option("--properties", help="Further folder of properties (repeatable).")]
OutputDir = Annotated[Path | None, typer.Option("--output-dir", "-o", help="Folder that keeps every run.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write report.json here as well.")]
Html = Annotated[Path | None, typer.Option("--html", help="Write the page here as well.")]
Junit = Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML here.")]
Sarif = Annotated[Path | None, typer.Option("--sarif", help="Write SARIF here.")]
Markdown = Annotated[Path | None, typer.Option("--markdown", help="Write Markdown here.")]
View = Annotated[bool, typer.Option("--view", help="Open the page in a browser.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
FailOn = Annotated[Level | None, typer.Option("--fail-on", help="The lowest level whose violation fails.")]
Github = Annotated[bool, typer.Option("--github", help="Print GitHub workflow annotations.")]


def _version(asked: bool) -> None:
    if asked:
        from gradcheck_suite import __version__

        print(f"gradcheck-suite {__version__}")
        raise typer.Exit


@app.callback()
def _root(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False) -> None:
    """Property-based diagnostics for neural-network gradients: wrong ones named, unstable ones explained."""


@app.command()
def audit(
    targets: Annotated[list[str] | None, typer.Argument(help=_TARGET_FORMS)] = None,
    input_: Annotated[list[str] | None, typer.Option("--input", "-i", help="4x3x32x32, ids=long:4x16:1000 (repeatable).")] = None,
    inputs: Annotated[str, typer.Option("--inputs", help="pkg.module:make, a function that returns the inputs.")] = "",
    target_values: Annotated[str, typer.Option("--targets", help="What the loss compares with: a shape, or pkg.module:make.")] = "",
    loss: Annotated[str, typer.Option("--loss", help="pkg.module:loss, called as loss(output, targets).")] = "",
    train: Annotated[bool, typer.Option("--train", help="Audit in train mode.")] = False,
    evaluate: Annotated[bool, typer.Option("--eval", help="Audit in eval mode.")] = False,
    both: Annotated[bool, typer.Option("--both", help="Audit in both modes.")] = False,
    isolation: Annotated[IsolationName | None, typer.Option("--isolation", help="Run the model in child processes, or here.")] = None,
    timeout: Annotated[float | None, typer.Option("--timeout", help="Deadline of one experiment, in seconds.", min=0.1)] = None,
    memory: Annotated[int | None, typer.Option("--memory", help="Memory limit of a child process, in MiB.", min=64)] = None,
    resume: Annotated[str, typer.Option("--resume", help="Go on with an interrupted run: its folder or id.")] = "",
    select: Select = None, ignore: Ignore = None, budget: Budget = None, seed: Seed = None, properties: Folders = None,
    output_dir: OutputDir = None, json: Json = None, html: Html = None, junit: Junit = None, sarif: Sarif = None, markdown: Markdown = None,
    view: View = False, quiet: Quiet = False, fail_on: FailOn = None, github: Github = False,
) -> None:
    """Audit a model of yours: every property of the catalogue whose conditions it meets."""
    from gradcheck_suite.commands import checking
    from gradcheck_suite.config import read

    config = read(Path.cwd())
    modes = tuple(mode for mode, asked in (("train", train or both), ("eval", evaluate or both)) if asked) or ("",)
    request = checking.AuditRequest(
        targets=tuple(targets or ()), inputs=tuple(input_ or ()) or ((inputs,) if inputs else ()), target_values=target_values, loss=loss,
        modes=modes, resume=resume,
        isolation=checking.Isolation(
            kind=isolation or config.isolation, timeout=timeout or config.timeout, memory_mib=memory or config.memory_mib))
    choice = _choice(config, (select, ignore), budget, seed, properties)
    files = _files(json=json, html=html, junit=junit, sarif=sarif, markdown=markdown)
    raise typer.Exit(checking.audit(request, choice, _outputs(config, output_dir, files, fail_on, (view, quiet, github)), config))


@app.command()
def search(
    plant: Annotated[list[str] | None, typer.Option("--plant", help="Plant this kind of fault in every network, to see it found.")] = None,
    select: Select = None, ignore: Ignore = None, budget: Budget = None, seed: Seed = None, properties: Folders = None,
    output_dir: OutputDir = None, json: Json = None, html: Html = None, junit: Junit = None, sarif: Sarif = None, markdown: Markdown = None,
    view: View = False, quiet: Quiet = False, fail_on: FailOn = None, github: Github = False,
) -> None:
    """Search generated architectures for the smallest one that violates a property."""
    from gradcheck_suite.commands import checking
    from gradcheck_suite.config import read

    config = read(Path.cwd())
    choice = _choice(config, (select, ignore), budget, seed, properties)
    files = _files(json=json, html=html, junit=junit, sarif=sarif, markdown=markdown)
    raise typer.Exit(checking.search(choice, _outputs(config, output_dir, files, fail_on, (view, quiet, github)), tuple(plant or ())))


@app.command()
def replay(
    finding: Annotated[str, typer.Argument(help="The id printed under a finding, or the path of a case file.")],
    output_dir: OutputDir = None,
) -> None:
    """Run one finding again: FIXED, STILL FAILS or CANNOT RUN."""
    from gradcheck_suite.commands import replaying
    from gradcheck_suite.config import read

    raise typer.Exit(replaying.replay(finding, output_dir or read(Path.cwd()).output_dir))


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or files report.json.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The page to write.")] = None,
    json: Json = None, junit: Junit = None, sarif: Sarif = None, markdown: Markdown = None, view: View = False, fail_on: FailOn = None,
) -> None:
    """Render runs that are on disk, finished or not, merged into one report. Needs no torch."""
    from gradcheck_suite.commands import execution, results

    merged = results.judged(results.merged(runs), fail_on)
    files = _files(json=json, html=output, junit=junit, sarif=sarif, markdown=markdown)
    outputs = execution.Outputs(files=files, view=view).checked()
    execution.show(merged, outputs)
    written = execution.write(merged, results.placed(runs, outputs.files))
    if written is not None:
        print(f"Report: {written}")
    raise typer.Exit(merged.exit_code())


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(help="A run's folder or report.json.")],
    after: Annotated[Path, typer.Argument(help="A later one.")],
) -> None:
    """What changed between two runs; exit code 1 where there is a new failure."""
    from gradcheck_suite.commands import results

    text, failures = results.difference(results.read(before), results.read(after))
    print(text)
    raise typer.Exit(1 if failures else 0)


@app.command("list")
def list_(words: Annotated[list[str] | None, typer.Argument(help="Ids, families or symptoms.")] = None, properties: Folders = None) -> None:
    """The catalogue, one line a property; words such as `vanishing` find by symptom."""
    from gradcheck_suite.commands import informing

    print(informing.listing(tuple(words or ()), _folders(properties)))


@app.command()
def explain(word: Annotated[str, typer.Argument(help="A property id, a family or a symptom.")], properties: Folders = None) -> None:
    """What a property states, under which conditions, with which error, from which source, and what to do."""
    from gradcheck_suite.commands import informing

    print(informing.explanation(word, _folders(properties)))


@app.command()
def doctor() -> None:
    """What this machine gives: versions, devices, isolation, limits."""
    from gradcheck_suite.commands import informing

    text, fine = informing.doctor()
    print(text)
    raise typer.Exit(0 if fine else 2)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="family/name")],
    folder: Annotated[Path, typer.Option("--folder", help="Your folder of properties.")] = Path("gradient_properties"),
) -> None:
    """Write the skeleton of a property of your own; `pytest FOLDER` runs its contract."""
    from gradcheck_suite.commands import informing

    print(informing.new(name, folder))


def _choice(
    config: "Config", words: tuple[list[str] | None, list[str] | None], budget: BudgetName | None, seed: int | None,
    folders: list[Path] | None,
) -> "Choice":
    from gradcheck_suite.commands.checking import choice_of

    return choice_of(config, words, budget, seed, folders or ())


def _folders(given: list[Path] | None) -> tuple[Path, ...]:
    """Folders of properties: those of the configuration, and those given."""
    from gradcheck_suite.config import read

    return (*read(Path.cwd()).properties, *(given or ()))


def _files(**paths: Path | None) -> tuple[tuple[str, Path], ...]:
    return tuple((kind, path) for kind, path in paths.items() if path is not None)


def _outputs(
    config: "Config", folder: Path | None, files: tuple[tuple[str, Path], ...], fail_on: Level | None, flags: tuple[bool, bool, bool]
) -> "Outputs":
    from gradcheck_suite.commands.execution import Outputs

    view, quiet, github = flags
    return Outputs(folder=folder or config.output_dir, files=files, view=view, quiet=quiet, github=github,
                   fail_on=fail_on or Level(config.fail_on))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; always ends with ``SystemExit``."""
    try:
        app(args=list(arguments) if arguments is not None else None, prog_name="gradcheck")
    except UsageError as error:
        print(f"gradcheck: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(3) from None
    except Exception:
        import traceback

        traceback.print_exc()
        print("gradcheck: this is a fault of gradcheck itself; the lines above say where", file=sys.stderr)
        raise SystemExit(3) from None
