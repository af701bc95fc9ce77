from gradcheck_suite.probes.declared import reason


def test_the_first_name_with_a_reason_counts():
    intended = {"1": "meant", "": "all of it"}
    assert reason(intended, None, "2", "1", "") == "meant"
    assert reason(intended, "") == "all of it"
    assert reason(intended, "2", None) == ""
