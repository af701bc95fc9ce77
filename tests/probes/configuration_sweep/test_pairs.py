from gradcheck_suite.probes.configuration_sweep.draft import Change
from gradcheck_suite.probes.configuration_sweep.pairs import wrong_pair
from gradcheck_suite.probes.configuration_sweep.trial import Trial

CHANGES = [Change(axis, f"{axis}{number}", lambda draft: None) for axis in ("setting", "zeros", "shape") for number in range(3)]


def searched(wrong, examples=200, changes=CHANGES):
    tried = []

    def run(changes):
        tried.append({change.text for change in changes})
        return Trial("disagrees" if wrong(tried[-1]) else "kink" if "shape0" in tried[-1] else "agrees")

    return wrong_pair(changes, run, examples, 1), tried


def test_a_pair_that_is_wrong_is_found_and_comes_last():
    found, _ = searched(lambda texts: {"setting1", "zeros2"} <= texts)
    changes, trial = found[-1]
    assert {change.text for change in changes} == {"setting1", "zeros2"}
    assert trial.status == "disagrees"
    assert sum(trial.status == "disagrees" for _, trial in found) == 1


def test_shrinking_ends_at_the_simplest_wrong_pair_and_never_at_a_kink():
    found, _ = searched(lambda texts: any(text.startswith("shape") for text in texts) and "shape0" not in texts)
    changes, trial = found[-1]
    assert trial.status == "disagrees"
    assert [change.text for change in changes] == ["setting0", "shape1"]


def test_no_pair_is_run_twice_or_within_one_axis():
    found, tried = searched(lambda texts: False)
    assert len(tried) == len({frozenset(texts) for texts in tried})
    assert all(len({text[:-1] for text in texts}) == 2 for texts in tried)
    assert all(any(text.startswith("setting") for text in texts) for texts in tried)
    assert {frozenset(change.text for change in changes) for changes, _ in found} == {frozenset(texts) for texts in tried}


def test_equal_seeds_draw_equal_pairs():
    assert searched(lambda texts: False)[1] == searched(lambda texts: False)[1]


def test_without_settings_any_two_are_paired():
    _, tried = searched(lambda texts: False, changes=CHANGES[3:])
    assert {text[:-1] for texts in tried for text in texts} == {"zeros", "shape"}


def test_without_examples_nothing_is_run():
    assert searched(lambda texts: True, examples=0)[0] == []


def test_nothing_is_written_where_the_user_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    searched(lambda texts: False)
    assert not list(tmp_path.iterdir())
