import hashlib
import json
import re
import subprocess
import sys

import pytest

from gradcheck_suite.architectures.build import loss_function, make_batch
from gradcheck_suite.architectures.script import to_python
from gradcheck_suite.architectures.subjects import subject
from gradcheck_suite.core.architecture import Architecture, Defect, layer

CONV = Architecture(
    input_shape=(2, 6, 6),
    layers=(
        layer("conv2d", channels=4, padding=1), layer("batch_norm"), layer("relu"),
        layer("residual", layer("conv2d", channels=4, padding=1), layer("silu")),
        layer("concatenate", layer("conv2d", channels=2, kernel=1)),
        layer("max_pool"), layer("dropout"), layer("flatten"), layer("dense", units=3),
    ),
    initialization="he-normal", loss="cross-entropy", optimizer="adam",
)  # fmt: skip
SEQUENCE = Architecture(
    input_shape=(5, 4),
    layers=(layer("lstm", units=6, bidirectional=True), layer("attention", heads=3), layer("encoder", heads=2, hidden=8),
            layer("mean_over_time"), layer("dense", units=2)),
    initialization="orthogonal", loss="kl",
)  # fmt: skip
TOKENS = Architecture(
    input_shape=(5,), vocabulary=7, values="ties", loss="nll",
    layers=(layer("embedding", units=4), layer("gru", units=3), layer("last_step")),
)
DENSE = Architecture(input_shape=(3,), layers=(layer("dense", units=4), layer("tanh"), layer("dense", units=2)), loss="mse")


def broken(architecture, kind, module, strength=1.0):
    return architecture.changed(defects=(Defect(kind=kind, module=module, strength=strength),))


ARCHITECTURES = {
    "dense": DENSE,
    "no loss": DENSE.changed(loss=""),
    "float32": CONV.changed(dtype="float32"),
    "conv": CONV,
    "eval": CONV.changed(training=False, values="one-hot"),
    "sequence": SEQUENCE,
    "tokens": TOKENS,
    "no parameters": Architecture(input_shape=(2, 6), layers=(layer("upsample"), layer("avg_pool")), values="masked", loss="bce"),
    "scaled backward": broken(CONV, "scaled-backward", "3.0", 1.01),
    "scaled entry": broken(SEQUENCE, "scaled-entry", "0", 2.0),
    "nondeterministic": broken(DENSE, "nondeterministic", "1", 0.1),
    "gain": broken(TOKENS, "gain", "1", 30.0),
    "missing scale": broken(SEQUENCE, "missing-scale", "2"),
    "nan": broken(DENSE, "nan-gradient", "0"),
    "mistakes": DENSE.changed(defects=(
        Defect(kind="scaled-inputs", module="", strength=3.0), Defect(kind="ascent", module=""),
        Defect(kind="penalised-loss", module="", strength=0.1),
    )),
    "truncated": DENSE.changed(initialization="truncated-normal", loss="smooth-l1", optimizer="nesterov"),
}
DRIVER = """
import hashlib, json, runpy, sys
results = {}
for path in sys.argv[1:]:
    run = runpy.run_path(path, run_name="__main__")
    gradients = [run["inputs"].grad, *(p.grad for p in run["model"].parameters())]
    digests = [g if g is None else hashlib.sha256(g.numpy().tobytes()).hexdigest() for g in gradients]
    results[path] = [run["loss"].item().hex(), digests]
assert not [name for name in sys.modules if name.startswith("gradcheck_suite")]
print(json.dumps(results))
"""


def expected(architecture, seed):
    """The loss and the digests of the gradients of the input and the parameters, from the modules themselves."""
    setup, batch = subject(architecture).setup(seed), make_batch(architecture, seed)
    (x,) = batch.args
    if not architecture.vocabulary:
        x.requires_grad_()
    loss = loss_function(architecture, setup.model)(setup.model(x), batch.targets)
    loss.backward()
    gradients = [x.grad, *(parameter.grad for parameter in setup.model.parameters())]
    return [loss.item().hex(), [g if g is None else hashlib.sha256(g.numpy().tobytes()).hexdigest() for g in gradients]]


def test_scripts_give_the_very_numbers_of_the_modules(tmp_path):
    paths = {name: tmp_path / f"{number}.py" for number, name in enumerate(ARCHITECTURES)}
    for name, path in paths.items():
        path.write_text(ARCHITECTURES[name].to_python(seed=5), encoding="utf-8")
    command = [sys.executable, "-W", "error", "-c", DRIVER, *map(str, paths.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert {name: results[str(path)] for name, path in paths.items()} == {name: expected(a, 5) for name, a in ARCHITECTURES.items()}


def ratios(architecture, tmp_path):
    path = tmp_path / "check.py"
    path.write_text(to_python(architecture, check=True), encoding="utf-8")
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table, _, _ = done.stdout[done.stdout.index("analytic") :].partition("loss after")
    assert table.split()[:4] == ["analytic", "numeric", "error", "ratio"]
    return {row.split()[0]: float(row.split()[4]) for row in table.splitlines()[1:]}, done.stdout


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_check_shows_a_planted_factor(tmp_path, dtype):
    found, printed = ratios(broken(DENSE, "scaled-backward", "1", 1.25).changed(dtype=dtype), tmp_path)
    behind, ahead = ("inputs", "0.weight", "0.bias"), ("2.weight", "2.bias")
    assert found == {**dict.fromkeys(behind, pytest.approx(1.25, rel=1e-4)), **dict.fromkeys(ahead, pytest.approx(1, rel=1e-4))}
    assert printed.startswith("loss ")
    assert printed.count("gradient of ") == 5
    assert "loss after one step" in printed


def test_a_script_imports_torch_alone_and_names_only_what_it_needs():
    script = to_python(DENSE)
    assert set(re.findall(r"^(?:import|from) (\w+)", script, re.MULTILINE)) == {"__future__", "torch"}
    assert "class " not in script
    assert "type: ignore" not in script
    assert "ChangedGradient" in to_python(broken(DENSE, "sign-flip", "0"))
    compile(script, "script", "exec")


def test_equal_architectures_print_equal_scripts():
    assert to_python(DENSE, 3) == DENSE.changed().to_python(3) != to_python(DENSE, 4)
