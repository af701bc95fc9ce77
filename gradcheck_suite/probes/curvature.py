"""Curvature: the largest Hessian eigenvalue by Lanczos, and the threshold of the optimiser's stability."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradcheck_suite.captures.curvature import Curvature
from gradcheck_suite.core.budget import Budget
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.core.seeds import derive
from gradcheck_suite.probes.execution import realise
from gradcheck_suite.probes.experiment import Experiment, is_finite, require_training
from gradcheck_suite.probes.graph import nodes
from gradcheck_suite.probes.state import preserved
from gradcheck_suite.subject import Subject

Product = Callable[[torch.Tensor], torch.Tensor]
_PRODUCTS = 10


def curvature(subject: Subject, budget: Budget, seed: int) -> Curvature:
    """The curvature (see ``captures.curvature.Curvature``), on the subject's batch, in the mode under test.

    Raises:
        NotApplicable: no loss or optimiser, or the loss has no finite second derivative here.
        SubjectError: the subject failed.
    """
    setup = realise(subject, seed)
    require_training(setup)
    with preserved(setup.model), torch.enable_grad(), sdpa_kernel([SDPBackend.MATH]):
        run = Experiment(setup, seed)
        assert run.optimizer is not None
        group = run.optimizer.param_groups[0]
        threshold, formula = stability_threshold(run.optimizer, group)
        if not math.isfinite(threshold):
            raise NotApplicable(f"no closed stability threshold is known for {type(run.optimizer).__name__}")
        found = hessian(run)
        top = sharpest(found.product, found.gradient.numel(), _PRODUCTS, derive(seed, "direction"))
    return Curvature(largest=top.value, error=top.error, products=top.products, optimizer=type(run.optimizer).__name__,
                     learning_rate=float(group["lr"]), threshold=threshold, formula=formula)


def stability_threshold(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> tuple[float, str]:
    """The curvature above which gradient descent with these settings diverges on a quadratic, and its formula; NaN if unknown.

    SGD 2/lr; heavy ball 2(1+b)/lr, with dampening t 2(1+b)/(lr(1-t)); Nesterov 2(1+b)/(lr(1+2b)); weight decay adds to the
    curvature. Checked against torch's optimisers at 0.995 and 1.005 of each.
    """
    if not isinstance(optimizer, torch.optim.SGD) or float(group["lr"]) <= 0:
        return math.nan, ""
    rate, momentum, dampening = float(group["lr"]), float(group["momentum"]), float(group["dampening"])
    if group["nesterov"]:
        return 2 * (1 + momentum) / (rate * (1 + 2 * momentum)) - group["weight_decay"], "2(1+b)/(lr(1+2b))"
    if momentum:
        return 2 * (1 + momentum) / (rate * (1 - dampening)) - group["weight_decay"], "2(1+b)/lr"
    return 2 / rate - group["weight_decay"], "2/lr"


@dataclass(frozen=True, slots=True)
class Sharpest:
    """The largest Ritz value, its residual bound, the Hessian-vector products used, and its unit vector (n)."""

    value: float
    error: float
    products: int
    vector: torch.Tensor


def lanczos(product: Product, size: int, products: int, seed: int) -> tuple[float, float, int]:
    """Largest eigenvalue of a symmetric map: Ritz value, residual bound, products used (see ``sharpest``)."""
    top = sharpest(product, size, products, seed)
    return top.value, top.error, top.products


def sharpest(product: Product, size: int, products: int, seed: int) -> Sharpest:
    """Largest eigenvalue of a symmetric map by Lanczos with full reorthogonalisation.

    The residual |beta s| bounds the distance of the Ritz value to the nearest eigenvalue (Parlett, The symmetric eigenvalue
    problem, theorem 13.2.1); it is the length of the product with the Ritz vector less the value times that vector.
    """
    generator = torch.Generator().manual_seed(seed)
    vector = torch.randn(size, generator=generator, dtype=torch.float64)
    basis = [vector / vector.norm()]
    diagonal, beside = [], []
    for step in range(min(products, size)):
        image = product(basis[-1])
        diagonal.append(float(image @ basis[-1]))
        for _ in range(2):
            stacked = torch.stack(basis)
            image = image - stacked.T @ (stacked @ image)
        beside.append(float(image.norm()))
        if beside[-1] <= 1e-12 * max(map(abs, diagonal)) or step + 1 == min(products, size):
            break
        basis.append(image / beside[-1])
    matrix = np.diag(diagonal) + np.diag(beside[: len(diagonal) - 1], 1) + np.diag(beside[: len(diagonal) - 1], -1)
    values, vectors = np.linalg.eigh(matrix)
    ritz = torch.from_numpy(vectors[:, -1]) @ torch.stack(basis[: len(diagonal)])
    return Sharpest(float(values[-1]), abs(beside[-1] * float(vectors[-1, -1])), len(diagonal), ritz / ritz.norm())


@dataclass(frozen=True, slots=True)
class Hessian:
    """The loss at a point, its gradient (n) in float64, and the Hessian as a map, in the parameters that the gradient depends on."""

    loss: float
    gradient: torch.Tensor
    product: Product
    parameters: list[nn.Parameter]


def hessian(run: Experiment) -> Hessian:
    """First and second derivative of an experiment's loss, where the model stands.

    Raises:
        NotApplicable: there is no finite second derivative; ``product`` raises it too.
        SubjectError: the subject failed.
    """
    parameters = [p for p in run.model.parameters() if p.requires_grad]
    loss = run.loss()
    if not loss.requires_grad:
        raise NotApplicable("the loss depends on no parameter")
    try:
        gradients = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
    except RuntimeError as error:
        raise NotApplicable(f"the gradient could not be taken: {str(error)[:120]}") from None
    used = [(p, g) for p, g in zip(parameters, gradients, strict=True) if g is not None and g.requires_grad]
    if any(g.layout != torch.strided or g.is_complex() for _, g in used):
        raise NotApplicable("some gradient is sparse or complex")
    if any(node.name() == "torch::autograd::Error" for node in nodes(*(g for _, g in used))):
        raise NotApplicable("no second derivative: a function is marked as differentiable once")
    if not used or not is_finite(*(g.detach() for _, g in used)):
        raise NotApplicable("the gradient is not finite" if used else "the gradient does not depend on the parameters")
    sizes = [p.numel() for p, _ in used]

    def product(vector: torch.Tensor) -> torch.Tensor:
        parts = [part.reshape(p.shape).to(p.dtype) for part, (p, _) in zip(torch.split(vector, sizes), used, strict=True)]
        try:
            found = torch.autograd.grad([g for _, g in used], [p for p, _ in used], parts, retain_graph=True, allow_unused=True)
        except RuntimeError as error:
            raise NotApplicable(f"the loss cannot be differentiated twice: {str(error)[:120]}") from None
        filled = [torch.zeros_like(p) if h is None else h for h, (p, _) in zip(found, used, strict=True)]
        image = torch.cat([part.detach().double().flatten() for part in filled])
        if not is_finite(image):
            raise NotApplicable("the second derivative is not finite")
        return image

    flat = torch.cat([g.detach().double().flatten() for _, g in used])
    return Hessian(float(loss.detach()), flat, product, [p for p, _ in used])
