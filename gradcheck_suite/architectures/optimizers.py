"""Optimisers by name, as PyTorch expressions over ``parameters`` and a learning rate."""

from types import MappingProxyType

OPTIMIZERS = MappingProxyType({
    "sgd": "torch.optim.SGD(parameters, lr={rate})",
    "momentum": "torch.optim.SGD(parameters, lr={rate}, momentum=0.9)",
    "nesterov": "torch.optim.SGD(parameters, lr={rate}, momentum=0.9, nesterov=True)",
    "adam": "torch.optim.Adam(parameters, lr={rate})",
    "adamw": "torch.optim.AdamW(parameters, lr={rate})",
})  # fmt: skip
