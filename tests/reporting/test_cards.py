"""Cards: what a finding shows in full, and how much of it the page has room for."""

from dataclasses import replace

from gradcheck_suite.core.exhibits import Curve
from gradcheck_suite.reporting.cards import Charts, card, over_depth, pictures
from tests.reporting import samples


def test_exhibits_are_sorted_by_kind():
    shown = card(samples.wrong_backward(), "a", Charts("c", 9))
    assert [drawing.title for drawing in shown.drawings] == ["The difference does not shrink with the step"]
    assert [table.title for table in shown.tables] == ["Worst entries"]
    assert [code.title for code in shown.codes] == ["Stand-alone script"]
    assert shown.undrawn == 0


def test_charts_beyond_the_room_are_counted():
    charts = Charts("c", 1)
    shown = card(samples.vanishing(), "a", charts)
    assert (len(shown.drawings), shown.undrawn) == (1, 1)


def test_explanations_are_said_once():
    shown = card(samples.vanishing(), "a", Charts("c", 0))
    assert shown.ruled_out == ("dead units", "clipping by the loss")
    assert len(shown.seen) == 1


def test_remedies_lie_on_one_scale():
    finding = samples.vanishing()
    shown = card(finding, "a", Charts("c", 0))
    by_value = sorted(shown.trials, key=lambda trial: trial.remedy.value)
    places = [trial.gauge.value for trial in by_value]
    assert places == sorted(places)
    assert len({trial.gauge.zone for trial in shown.trials}) == 1
    assert [trial.gauge.verdict for trial in shown.trials] == [remedy.verdict for remedy in finding.remedies]


def test_remedies_of_a_finding_without_evidence_have_no_gauge():
    finding = replace(samples.segfault(), remedies=samples.vanishing().remedies)
    assert [trial.gauge for trial in card(finding, "a", Charts("c", 0)).trials] == [None] * 4


def test_pictures_are_curves_over_depth_each_once():
    shown = pictures([samples.wrong_backward(), samples.vanishing(), samples.vanishing()], {})
    assert [picture.drawing.title for picture in shown] == ["Signal and gradient, layer by layer"]


def test_pictures_are_few():
    def named(index):
        finding = samples.vanishing()
        curve = replace(finding.evidence.exhibits[0], title=f"picture {index}")
        return replace(finding, evidence=replace(finding.evidence, exhibits=(curve,)))

    assert len(pictures([named(index) for index in range(20)], {})) == 6


def test_over_depth_reads_the_axis():
    assert over_depth(Curve(title="", x_label="Layer index", y_label="", series=()))
    assert over_depth(Curve(title="", x_label="dense layer, at its input", y_label="", series=()))
    assert not over_depth(Curve(title="", x_label="step", y_label="", series=()))
