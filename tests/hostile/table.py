"""The hostile models, and what an audit may say of each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gradcheck_suite.engine.sources import Limits

MODELS: Final = Path(__file__).parent / "models"
MIB: Final = 1 << 20
ORDINARY: Final = Limits(seconds=20.0)
SHORT: Final = Limits(seconds=0.8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Harmful:
    """A model that harms its process: ``words`` are found in the error of the probe; no words: it is audited like any other."""

    name: str
    words: str = ""
    file: str = "process"
    stage: str = "forward"
    also: tuple[str, ...] = ()
    module: str | None = "body.2"
    limits: Limits = ORDINARY


def harmful(words: str, *names: str, file: str = "process", limits: Limits = ORDINARY) -> list[Harmful]:
    """Models with one outcome in common."""
    return [Harmful(name=name, words=words, file=file, limits=limits) for name in names]


def rude(words: str, *names: str, limits: Limits = ORDINARY) -> list[Harmful]:
    """Models of the file ``rude.py`` with one outcome in common."""
    return harmful(words, *names, file="rude", limits=limits)


RESULT: Final = "before there was a result"
PROCESS: Final = [
    *harmful(r"SIGSEGV \(segmentation fault\), signal 11", "segfault_forward", "overflows_the_c_stack"),
    Harmful(name="segfault_backward", words="SIGSEGV", stage="backward"),
    *harmful(r"SIGABRT \(abort\), signal 6", "abort_forward"),
    *harmful("SIGKILL, signal 9; nothing of ours sent it", "kills_itself"),
    *harmful("SIGTERM, signal 15", "kills_its_group"),
    *harmful(f"exit code 0 {RESULT}", "exit_zero_forward", "forges_a_result", "no_more_files"),
    Harmful(name="exit_zero_backward", words=f"exit code 0 {RESULT}", stage="backward"),
    *harmful("SystemExit: 0", "sys_exit_forward"),
    *harmful("KeyboardInterrupt", "keyboard_interrupt"),
    *harmful("StopAll: not an Exception", "base_exception"),
    Harmful(name="raises_backward", words="ArithmeticError: no derivative today", stage="backward", module=None),
    *harmful("LookupError: once was enough", "raises_the_second_time"),
    *harmful("RecursionError", "endless_recursion"),
    *harmful(r"ValueError: x{2000}\.\.\. \(50000000 characters\)", "huge_message"),
    *harmful("ValueError: \0", "binary_message"),
    *harmful("Unprintable: <unprintable>", "unprintable_exception"),
    *harmful("allocate memory", "one_huge_allocation"),
    *harmful(
        "a single call did not return for",
        "python_loop",
        "loop_that_holds_the_lock",
        "ignores_everything",
        "deadlock",
        limits=SHORT,
    ),
    Harmful(name="loop_backward", words="a single call did not return for", stage="backward", limits=SHORT),
    Harmful(name="grows_slowly", file="rude", words="memory limit of 500 MiB|allocate memory|MemoryError", also=("repeated_pass",),
            limits=Limits(seconds=20.0, memory=500 * MIB)),  # whether a call or what follows meets the limit is chance
    *rude("memory limit of 300 MiB", "children_that_grow", limits=Limits(seconds=20.0, memory=300 * MIB)),
    *rude("more than 60 threads|can't start new thread", "thread_bomb", limits=Limits(seconds=20.0, threads=60)),
    *rude("more than 12 processes", "process_bomb", limits=Limits(seconds=20.0, processes=12)),
    *rude("printed more than 20 MiB", "endless_output", limits=Limits(seconds=20.0, log=20 * MIB)),
    *rude("a single call did not return for", "stops_itself", limits=SHORT),
    *rude(f"exit code 0 {RESULT}", "becomes_a_daemon"),
    *rude("NotApplicable: nothing to see here", "says_what_applies"),
    *rude("GeneratorExit: of no generator", "ends_a_generator"),
    *rude("ValueError: hooked", "hooks_every_exception"),
    *harmful("", "healthy"),
    *rude("", "prints_50_mb", "prints_bytes", "closes_descriptors", "closes_standard_streams", "deletes_its_folder"),
    *rude("", "kills_its_parent", "asks_its_parent_to_end", "forks", "leaves_a_session", "leaves_a_thread", "leaves_an_exit_hook"),
    *rude("", "stops_its_parent", "replaces_what_we_use", "forgets_how_to_import"),
    *rude("", "warns_a_lot", "empties_its_environment", "handles_its_own_faults"),
]

IMPORTS: Final = {
    "syntax-error": ("import torch\n\n\ndef build(:\n", r"SyntaxError.*\nRaised at .*here\.py:4"),
    "missing-package": ("import a_package_that_nobody_has\n", "No module named 'a_package_that_nobody_has'"),
    "exits": ("import sys\nsys.exit(0)\n", "SystemExit: 0 .it asked Python to exit"),
    "vanishes": ("import os\nos._exit(0)\n", f"could not be imported: its process exited with exit code 0 {RESULT}"),
    "crashes": ("import ctypes\nctypes.string_at(0)\n", "could not be imported: its process was ended by SIGSEGV"),
    "parses-arguments": (
        "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('x')\nparser.parse_args()\n",
        "SystemExit: 2",
    ),
    "never-ends": ("while True:\n    pass\n", "could not be imported: its process timed out"),
    "raises": ("raise ValueError('broken on import')\n", r"ValueError: broken on import\nRaised at .*here\.py:1"),
    "asks": ("answer = input('Which model? ')\n", "EOFError"),
    "relative-path": ("weights = open('weights.bin').read()\n", "build its paths from __file__"),
    "empty": ("", "has no attribute 'build'"),
    "not-utf-8": ("name = 'caf\udce9'\n", "SyntaxError|UnicodeDecodeError"),
    "null-bytes": ("build = None\0\n", "null bytes"),
    "not-a-model": ("build = 3\n", "cannot be audited"),
    "floods": ("while True:\n    print('x' * 10_000)\n", "printed more than 4 MiB"),
}

FACTORIES: Final = {
    "raises": "could not be built: ZeroDivisionError",
    "exits": "could not be built: SystemExit: 0",
    "vanishes": "built: its process exited with exit code 3",
    "never_returns": "could not be built: its process timed out",
    "returns_nothing": "return statement",
    "returns_a_class": "Return an instance",
    "misspells_a_key": "Did you mean 'inputs'",
    "needs_an_argument": "called without arguments",
    "takes_everything": "could not be built: RuntimeError.*allocate",
    "number": "cannot be audited",
    "missing": "has no attribute 'missing'",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Awkward:
    """A model that does not harm its process. ``outcomes`` are those that are right; ``words`` are found in a finding."""

    name: str
    outcomes: frozenset[str]
    words: str = ""


def awkward(outcomes: str, *names: str, words: str = "") -> list[Awkward]:
    """Models with the same right outcomes."""
    return [Awkward(name=name, outcomes=frozenset(outcomes.split()), words=words) for name in names]


PURITY: Final = [
    *awkward("clean", "healthy", "dropout_in_train_mode", "random_factor"),
    *awkward("clean inconclusive", "batch_norm_in_train_mode"),
    *awkward("clean violated", "spectral_norm_in_train_mode"),  # recomputing it makes another power iteration: an indicator may say so
    *awkward("violated", "random_factor_of_another_generator", "wall_clock", words="gradient-determinism: violated"),
    *awkward(
        "violated", "weight_changed_in_place", "weight_changed_through_data", words="parameter-constancy: violated at body.weight"
    ),
    *awkward("violated", "input_changed_in_place", words="input-constancy: violated"),
    *awkward("violated", "call_counter", "alternates", words="call-independence: violated at body"),
    *awkward("violated", "drifting_buffer", words="buffer-constancy: violated at total"),
    *awkward("violated", "reseeds_globally", words="generator-independence: violated"),
    *awkward("violated", "changes_the_default_dtype", "changes_the_number_of_threads", words="setting-constancy: violated"),
    *awkward("violated error", "turns_gradients_off", words="setting-constancy: violated at grad mode"),
    *awkward(
        "violated error",
        "backward_inside_forward",
        "registers_a_parameter_per_call",
        "freezes_a_parameter_per_call",
        words="registry-constancy: violated",
    ),
]
GRADIENTS: Final = [
    *awkward("clean", "healthy", "complex_inside", "sparse"),
    *awkward("violated", "second_output_detached", words="carries no gradient"),  # an indicator: it may be meant
    *awkward("violated", "one_percent_too_large", words="LargeTanh"),
    *awkward("violated", "wrong_sign", words="SignTanh"),
    *awkward("violated", "rounds_straight_through", words="RoundThrough"),
    *awkward("violated", "scaled_by_a_hook", words="at 0"),
    *awkward("violated", "hidden_weight_scaled_by_a_hook", words="0.weight"),
    *awkward("violated", "nan_behind_where", words="finite"),
    *awkward("clean inconclusive", "kink", "ties", "float32_island", "autocast"),
]
STRUCTURE: Final = [
    *awkward("violated", "parametrised", words="hessian-symmetry"),  # an indicator, and right: torch's weight_norm is wrong in second order
    *awkward(
        "clean",
        "healthy",
        "nested_output",
        "dataclass_output",
        "integer_beside_float_output",
        "no_parameters",
        "some_frozen",
        "unused",
        "unregistered",
        "tied",
        "one_module_twice",
        "parameter_without_entries",
        "scalar_parameter",
        "integer_input",
        "boolean_input_and_keywords",
        "scalar_input",
    ),
    *awkward("not-applicable", "all_frozen", words="no parameter of the model requires a gradient"),
    *awkward("not-applicable error", "integer_output", "no_output", words="no floating output"),
    *awkward("not-applicable", "empty_batch", words="the batch is empty"),
    *awkward("clean", "empty_output", words="no output of the model has an entry"),
    *awkward("error", "other_shapes_each_time", "more_outputs_each_time", words="the outputs change from one pass to the next"),
    *awkward("error", "missing_keyword", words="missing 1 required keyword-only argument: 'scale'"),
    *awkward("error", "batch_of_one_with_batch_norm", words="more than 1 value per channel"),
    *awkward("error", "wrong_shape", words="shapes cannot be multiplied"),
    *awkward("error", "integers_for_a_linear_layer", words="same dtype"),
    *awkward("error", "loss_that_raises", words="ArithmeticError: the loss refused"),
    *awkward("error", "loss_that_is_no_scalar", words="not one number"),
]
KINDS: Final = [
    *awkward(
        "clean",
        "healthy",
        "lazy",
        "compiled",
        "data_parallel",
        "not_deep_copyable",
        "repr_raises",
        "repr_is_huge",
        "refuses_comparison",
        "many_modules",
        "nested_deep",
        "hostile_module_names",
        "hostile_class_names",
        "hostile_parameter_names",
    ),
]
