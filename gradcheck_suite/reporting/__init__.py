"""Renderers: views of a report. They read core data and never import torch."""
