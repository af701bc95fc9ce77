"""A source of captures from a table, and properties about it."""

from gradcheck_suite.core.events import SubjectFacts
from gradcheck_suite.core.evidence import Evidence
from gradcheck_suite.core.property import Property


class TableSource:
    """Captures from a dictionary; an exception in it is raised."""

    def __init__(self, name="subject", **captures):
        self.facts = SubjectFacts(name=name)
        self.captures, self.asked, self.closed = captures, [], False

    def capture(self, probe):
        self.asked.append(probe)
        value = self.captures[probe]
        if isinstance(value, Exception):
            raise value
        return value

    def prefetch(self, probes):
        self.prefetched = probes

    def close(self):
        self.closed = True


def evidence(value=0.0, **facts):
    known = {"quantity": "q", "error": 0.0, "low": 0.0, "high": 0.0} | facts
    return Evidence(value=value, **known)


def property_of(measure, **facts):
    return Property(measure=measure, **facts).filled(id="p", family="f", statement="A statement.")
