import pytest

from gradcheck_suite.architectures.domain import FLOW, FORMS, domain, feasible
from gradcheck_suite.architectures.grammar import output_shape
from gradcheck_suite.architectures.kinds import KINDS
from gradcheck_suite.core.architecture import layer
from gradcheck_suite.core.errors import UsageError

SAMPLE = {"features": (4,), "sequence": (3, 4), "signal": (4, 6), "image": (4, 6, 6), "tokens": (3,)}
RANK = {"features": 1, "sequence": 2, "signal": 2, "image": 3, "tokens": 1}
OPTIONS = {"units": 4, "channels": 4, "heads": 2, "hidden": 4, "groups": 2}


@pytest.mark.parametrize(("options", "message"), [
    ({"kind": ("dense",)}, "Did you mean 'kinds'"),
    ({"kinds": ("dens",)}, "Did you mean 'dense'"),
    ({"kinds": "dense"}, "several of"),
    ({"kinds": ()}, "several of"),
    ({"losses": ("mae",)}, "unknown name 'mae' in losses"),
    ({"defects": ("gian",)}, "Did you mean 'gain'"),
    ({"input_kinds": ("images",)}, "Did you mean 'image'"),
    ({"dtype": "float16"}, "'float64', 'float32'"),
    ({"depth": (3, 2)}, r"depth=\(3, 2\)"),
    ({"width": (0, 2)}, r"width=\(0, 2\)"),
    ({"batch": (1,)}, r"batch=\(1,\)"),
    ({"batch": ("1", "2")}, "a least and a largest integer"),
    ({"width": (1, 1), "losses": ("kl",)}, "2 classes"),
    ({"kinds": ("conv2d",), "input_kinds": ("features",)}, "on features from the kinds conv2d"),
    ({"kinds": ("conv2d", "dense"), "input_kinds": ("features", "tokens")}, "on tokens"),
    ({"kinds": ("embedding",), "depth": (2, 3)}, "2 to 3 layers"),
    ({"kinds": ("residual",)}, "from the kinds residual"),
    ({"kinds": ("batch_norm",), "batch": (1, 1), "input_kinds": ("features",)}, "on features"),
    ({"kinds": ("relu",), "defects": ("gain",)}, "with defects gain"),
    ({"kinds": ("dense",), "defects": ("detached",), "depth": (1, 1)}, "with defects detached"),
    ({"kinds": ("embedding",), "defects": ("saturated",)}, "with defects saturated"),
    ({"defects": ("wrong-axis",), "batch": (1, 1)}, "a batch of at least 2"),
])  # fmt: skip
def test_what_cannot_be_drawn_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        domain(options)


def test_none_stands_for_the_default():
    assert domain({"kinds": None, "losses": None, "defects": None}) == domain({})


def test_lists_from_json_are_accepted():
    assert domain({"kinds": ["dense", "relu"], "depth": [2, 5]}) == domain({"kinds": ("dense", "relu"), "depth": (2, 5)})


def test_forms_that_suit_the_kinds():
    assert domain({"kinds": ("dense", "relu")}).input_kinds == ("features", "sequence")
    assert domain({"kinds": ("conv2d", "flatten", "relu")}).input_kinds == ("image",)
    assert domain({"kinds": ("relu",)}).input_kinds == ("features", "sequence", "signal", "image")
    assert domain({}).input_kinds == FORMS


def test_the_flow_of_forms_agrees_with_the_shapes():
    for kind, flow in FLOW.items():
        options = {name: OPTIONS[name] for name, setting in KINDS[kind].options.items() if setting.required}
        inside = (layer("relu"),) if KINDS[kind].family == "container" else ()
        for form, after in flow.items():
            assert len(output_shape(layer(kind, *inside, **options), SAMPLE[form])) == RANK[after]


def test_how_many_layers_are_feasible():
    tokens = domain({"kinds": ("embedding", "last_step", "dense")})
    assert feasible(tokens, "tokens", (500, 500), ("output", 0))
    short = domain({"kinds": ("embedding", "last_step")})
    assert [feasible(short, "tokens", (n, n), ("output", 0)) for n in (1, 2, 3)] == [True, True, False]
    assert not feasible(short, "features", (1, 9), ("output", 0))
    assert [feasible(tokens, "tokens", (1, n), ("parameter", 2)) for n in (1, 2)] == [False, True]
