"""Containment: what a model does to its process, to the machine or to global state, and what the run says of it."""
