"""The injection benchmark in small: faults planted in healthy networks are found, placed and named, and shrink to small networks."""

import pytest

from benchmarks.injection import FAULTS, accused, diagnosis, draws, healthy, injected, score, smallest

DRAWS = 3


@pytest.fixture(scope="module")
def properties():
    return diagnosis()


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_placed_and_named(name, properties):
    counts = score(name, draws(injected(name), DRAWS, 11), properties, "quick")
    assert counts.draws == DRAWS
    assert counts.detected == DRAWS, counts.missed
    assert counts.near >= DRAWS - 1
    assert counts.named == DRAWS


def test_healthy_networks_are_not_accused(properties):
    total, failed, warned, _ = accused(draws(healthy(), 4, 12), properties, "quick")
    assert (total, failed, warned) == (4, 0, 0)


def test_draws_repeat_for_a_seed_and_differ_for_another():
    assert draws(healthy(), 3, 1) == draws(healthy(), 3, 1)
    assert draws(healthy(), 3, 1) != draws(healthy(), 3, 2)


def test_the_defect_is_planted_where_it_fits():
    for name, fault in FAULTS.items():
        for architecture in draws(injected(name), DRAWS, 13):
            (defect,) = architecture.defects
            place = int(defect.module)
            assert architecture.layers[place].kind in fault.hosts
            assert not fault.followed_by or architecture.layers[place + 1].kind in fault.followed_by


@pytest.mark.parametrize("name", ["detach", "wrong axis"])
def test_the_smallest_network_that_shows_a_fault_is_small(name, properties):
    exact = tuple(prop for prop in properties if prop.id in FAULTS[name].named_by)
    found = smallest(name, exact)
    assert len(found.layers) <= 5
    assert found.input_shape == (16,)
