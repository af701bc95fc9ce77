"""The analytic gradient beside a finite difference, printed. Torch only, for ``to_python`` prints it as it stands here."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn


def central_difference(value: Callable[[], float], tensor: Tensor, direction: Tensor) -> tuple[float, float]:
    """The derivative of ``value()`` as the tensor moves along the direction, and its error.

    Two central differences, steps h and h/2, are extrapolated (Richardson); the error is their distance plus the rounding
    of ``value`` over the step. Beside a kink the error is large.
    """
    origin = tensor.detach().clone()
    step = 1e-4 * (origin.abs().max().item() or 1.0)
    differences = []
    for h in (step, step / 2):
        tensor.data.copy_(origin + h * direction)
        above = value()
        tensor.data.copy_(origin - h * direction)
        differences.append((above - value()) / (2 * h))
    tensor.data.copy_(origin)
    coarse, fine = differences
    return (4 * fine - coarse) / 3, abs(fine - coarse) + 1e-15 * abs(value()) / step


def compare(model: nn.Module, inputs: Tensor, targets: Tensor, loss_function: Callable[[Tensor, Tensor], Tensor], seed: int) -> None:
    """Print, for the input and every parameter, its ``.grad`` along a direction of random signs beside a finite difference.

    The differences are those of a float64 copy of the model, under the same random draws. The ratio is shown where the
    difference exceeds its error.
    """
    twin = copy.deepcopy(model).double()
    x, y = (tensor.detach().clone().double() if tensor.is_floating_point() else tensor for tensor in (inputs, targets))

    def value() -> float:
        torch.manual_seed(seed)
        with torch.no_grad():
            return loss_function(twin(x), y).item()

    generator = torch.Generator().manual_seed(seed)
    moved = [("inputs", x, inputs.grad)] if x.is_floating_point() else []
    gradients = [parameter.grad for parameter in model.parameters()]
    moved += [(name, tensor, gradient) for (name, tensor), gradient in zip(twin.named_parameters(), gradients, strict=True)]
    print(f"{'':<24}{'analytic':>24}{'numeric':>24}{'error':>10}{'ratio':>12}")
    for name, tensor, gradient in moved:
        direction = torch.randint(0, 2, tensor.shape, generator=generator).double() * 2 - 1
        analytic = 0.0 if gradient is None else (gradient.double() * direction).sum().item()
        numeric, error = central_difference(value, tensor, direction)
        ratio = analytic / numeric if abs(numeric) > error else float("nan")
        print(f"{name:<24}{analytic:>24.16g}{numeric:>24.16g}{error:>10.1e}{ratio:>12.6g}")
