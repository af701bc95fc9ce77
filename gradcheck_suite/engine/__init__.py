"""The engine: the one place where a property meets a subject, and the run around it."""
