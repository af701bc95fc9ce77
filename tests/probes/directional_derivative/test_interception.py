"""Interception: whole calls, hooks included, nested and undone."""

import torch
from torch import nn

from gradcheck_suite.probes.directional_derivative.interception import intercepted


def test_the_handler_has_the_call_with_its_hooks():
    module = nn.Linear(2, 2)
    ran = []
    module.register_forward_pre_hook(lambda *_: ran.append("before"))
    module.register_forward_hook(lambda *_: ran.append("after"))
    with intercepted([module], lambda proceed, target, args, kwargs: args[0]):
        x = torch.ones(1, 2)
        assert module(x) is x
    assert ran == []
    module(x)
    assert ran == ["before", "after"]
    assert "_compiled_call_impl" not in vars(module)


def test_contexts_nest_and_the_inner_one_comes_first():
    module, order = nn.Identity(), []

    def handler(name):
        def handle(proceed, target, args, kwargs):
            order.append(name)
            return proceed(*args, **kwargs)

        return handle

    with intercepted([module], handler("outer")):
        with intercepted([module], handler("inner")):
            module(1)
        module(2)
    assert order == ["inner", "outer", "outer"]


def test_scripted_modules_are_intercepted_as_a_whole():
    module = torch.jit.script(nn.Linear(2, 2))
    seen = []

    def handle(proceed, target, args, kwargs):
        seen.append(target)
        return proceed(*args, **kwargs)

    with intercepted([module], handle):
        module(torch.ones(1, 2))
    assert seen == [module]
