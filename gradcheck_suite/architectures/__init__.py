"""Architectures: data to module and back, initialisations, planted defects and Hypothesis strategies."""
