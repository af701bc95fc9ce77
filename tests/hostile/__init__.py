"""Models that crash, hang, flood, lie or are merely awkward: each has a named outcome, and a healthy one beside it is audited on."""
