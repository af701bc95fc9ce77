"""Numerics: finite differences, laws and bounds on numpy and scipy; nothing of models, properties or torch."""
