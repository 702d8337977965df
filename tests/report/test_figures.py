"""Figures: what is drawn is what was measured, it fits, and it leaves nothing behind."""

import gc
import io
import itertools
import weakref
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection
from matplotlib.patches import StepPatch
from matplotlib.text import Text

from fairlightning.exceptions import ArgumentError
from fairlightning.metrics import Record
from fairlightning.report import figures as fig

SEX = ["Female", "Male"]
# Long names, formula signs, and the sign that joins the names of a crossing.
RACES = ["Amer-Indian-Eskimo", "$25k to $50k", "Black & other", "Two or more of all these", "White"]
AGES = ["under 25", "25 to 34", "35 to 44", "45 to 64", "65 and over"]
OVERALL = {"accuracy": 0.85, "selection_rate": 0.243, "auroc": 0.9}
RATES = {
    "selection_rate": 0.243,
    "true_positive_rate": 0.6,
    "false_positive_rate": 0.08,
    "accuracy": 0.85,
}


def crossing(**attributes):
    """Names of an attribute or a crossing, and of its groups."""
    groups = [
        " & ".join(map("=".join, zip(attributes, values, strict=True)))
        for values in itertools.product(*attributes.values())
    ]
    return " & ".join(attributes), groups


def records(attribute, groups, *, absent=(), small=(), intervals=True, overall=OVERALL, seed=0):
    rng = np.random.default_rng(seed)
    out = [Record("val", m, None, None, v, None, None, 5000) for m, v in overall.items()]
    for criterion in ("demographic_parity", "equal_opportunity"):
        gap = rng.uniform(0.03, 0.3)
        ends = (gap - 0.03, gap + 0.05) if intervals else (None, None)
        out.append(Record("val", f"{criterion}_difference", attribute, None, gap, *ends, 500))
    out.append(Record("val", "support", attribute, f"{attribute}=unknown", 41.0, None, None, 41))
    for (metric, middle), (i, group) in itertools.product(RATES.items(), enumerate(groups)):
        rows = 0 if i in absent else 20 if i in small else 1000 + 7 * i
        value = float(np.clip(rng.normal(middle, 0.05), 0, 1)) if rows else None
        ends = (None, None)
        if intervals and rows:
            half = rows**-0.5
            ends = (max(0.0, value - half), min(1.0, value + half))
        out.append(Record("val", metric, attribute, group, value, *ends, rows))
    return out


def rates(attributes, metrics=None, **options):
    attribute, groups = crossing(**attributes)
    return fig.rates_figure(records(attribute, groups, **options), "val", attribute, metrics)


def intersections(attributes, metric="selection_rate", **options):
    found = records(*crossing(**attributes), **options)
    return fig.intersections_figure(found, "val", metric, list(attributes))


def histogram_data(count, labels=True, absent=(), small=()):
    rng = np.random.default_rng(1)
    edges = np.concatenate([[0], 1 / (1 + np.exp(-np.linspace(-9, 9, 99))), [1]])
    counts = np.stack(
        [
            [np.histogram(rng.beta(1 + y, 2 + g % 3, 20 if g in small else 900), edges)[0]] * 1
            for g in range(count)
            for y in (0, 1)
        ]
    ).reshape(count, 2, -1)
    counts[list(absent)] = 0
    return edges, counts if labels else counts.sum(1)


def histograms(attributes, threshold=0.5, **options):
    attribute, groups = crossing(**attributes)
    edges, counts = histogram_data(len(groups), **options)
    return fig.score_histogram_figure(
        edges, counts, groups, stage="val", attribute=attribute, threshold=threshold
    )


def calibration_data(count, absent=(), small=()):
    rng = np.random.default_rng(2)
    score = (np.arange(10) + 0.5) / 10 + rng.uniform(-0.04, 0.04, (count, 10))
    support = rng.integers(40, 900, (count, 10))
    support[:, -1] = 7
    support[0, 3] = 0
    support[list(small)] = 2
    support[list(absent)] = 0
    rate = np.where(support > 0, score ** rng.uniform(0.6, 1.6, (count, 1)), np.nan)
    return score, rate, support


def calibration(attributes, **options):
    attribute, groups = crossing(**attributes)
    data = calibration_data(len(groups), **options)
    return fig.calibration_figure(*data, groups, stage="val", attribute=attribute)


def gaps(tolerance=0.05, **options):
    found = records(*crossing(sex=SEX), **options)
    found += records(*crossing(sex=SEX, race=RACES), overall={}, seed=3, **options)
    found.append(Record("val", "equalized_odds_difference", "sex", None, None, None, None, 0))
    found.append(Record("val", "equalized_odds_difference", "race", None, 0.2, None, None, 12))
    return fig.gaps_figure(found, "val", tolerance)


def curves():
    return fig.curves_figure(
        {
            "demographic_parity_difference": [0.2, 0.15, 0.1],
            "equal_opportunity_difference": [0.05, 0.08, 0.1],
            "accuracy": [0.84, None, 0.83],
            "f1": [0.83, 0.83, 0.8299],
        }
    )


def epoch_front(rows=8, line=True):
    rng = np.random.default_rng(4)
    gap = np.sort(rng.uniform(0, 0.2, rows))
    kept = np.column_stack([0.8 + 0.25 * gap, gap])
    names = ["accuracy", "equalized-odds difference (sum), " + " & ".join(RACES)]
    models = kept + rng.uniform([-0.02, 0.0], [0.0, 0.05], (rows, 2))
    return fig.epoch_front_figure(kept, models, names, epoch=12, line=line)


def graded(levels=9, series=3, intervals=True):
    rng = np.random.default_rng(5)
    names = ["level " + "long " * (i % 3) + str(i) for i in range(levels)]

    def one(name):
        values = [None if i == 1 else float(rng.uniform(0.1, 0.9)) for i in range(levels)]
        low, high = ([v and v + d for v in values] for d in (-0.05, 0.05))
        return fig.Series(name, values, *((low, high) if intervals else ()))

    of = [one(f"model {i}") for i in range(series)]
    panels = [fig.Panel(f"Gap of {r}", "share of the rows", names, of, 1.4) for r in RACES[:3]]
    return fig.graded_figure("Accuracy and gaps", panels, ["Bars: intervals."])


def beside(draw, **options):
    """A figure of records beside those of a baseline."""
    found = records(*crossing(**TEN), absent=[3], small=[1, 8])
    before = records(*crossing(**TEN), absent=[3], small=[1, 8], seed=7)
    return draw(found, "val", *options.values(), baseline=before)


TWO = {"sex": SEX}
TEN = {"sex": SEX, "race": RACES}
FIFTY = {"sex": SEX, "race": RACES, "age": AGES}
MANY = {"country": [f"country {i}" for i in range(15)], "job": [f"job {i}" for i in range(45)]}
FIGURES = {
    "rates of two groups": lambda: rates(TWO),
    "one rate without intervals": lambda: rates(TWO, ["accuracy"], intervals=False),
    "rates of ten": lambda: rates(TEN, absent=[3], small=[1, 8]),
    "rates of fifty": lambda: rates(FIFTY, absent=[3, 20], small=[1, 8]),
    "rates of 675": lambda: rates(MANY, absent=range(9), small=range(9, 50)),
    "ten cells": lambda: intersections(TEN, absent=[3], small=[1, 8]),
    "ten cells without intervals": lambda: intersections(TEN, intervals=False),
    "fifty cells": lambda: intersections(FIFTY, absent=[3, 20], small=[1, 8]),
    "675 cells": lambda: intersections(MANY, absent=range(9), small=range(9, 50)),
    "scores of two": lambda: histograms(TWO),
    "scores of ten": lambda: histograms(TEN, absent=[3], small=[1]),
    "scores of fifty": lambda: histograms(FIFTY, labels=False),
    "calibration of two": lambda: calibration(TWO),
    "calibration of five": lambda: calibration({"race": RACES}, absent=[3], small=[1]),
    "calibration of ten": lambda: calibration(TEN, absent=[3], small=[1]),
    "calibration of fifty": lambda: calibration(FIFTY),
    "gaps": gaps,
    "gaps without intervals": lambda: gaps(None, intervals=False),
    "curves": curves,
    "front of an epoch": epoch_front,
    "levels": graded,
    "two levels": lambda: graded(2, 1, intervals=False),
    "rates beside a baseline": lambda: beside(fig.rates_figure, attribute="sex & race"),
    "gaps beside a baseline": lambda: beside(fig.gaps_figure),
    "one model, kept": lambda: fig.epoch_front_figure([[0.9, 0.1]], [], ["a", "b"], epoch=0),
}


@pytest.fixture(params=FIGURES)
def draw(request):
    return FIGURES[request.param]


def pixels(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def texts(figure):
    figure.canvas.draw()
    return [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]


def said(figure):
    return " ".join(text.get_text().replace("\n", " ") for text in texts(figure))


def place(figure, name):
    """Height of the text that is this name, counted from the top."""
    found = [t for t in texts(figure) if t.get_text().replace("\n", " ") == name]
    assert len(found) == 1, name
    return -found[0].get_window_extent().y0


def marks(figure, gid):
    """Points that are drawn, per plot."""
    found = [
        [artist for artist in axes.findobj() if artist.get_gid() == gid] for axes in figure.axes
    ]
    return [
        np.concatenate([a.get_xydata() for a in of]) if of else np.empty((0, 2)) for of in found
    ]


def test_texts_fit_and_do_not_overlap(draw):
    figure = draw()
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts(figure)]
    assert not any(text.get_parse_math() for text in texts(figure))
    width, height = figure.get_size_inches() * figure.dpi
    for name, box in boxes:
        assert box.x0 >= 0, name
        assert box.y0 >= 0, name
        assert box.x1 <= width, name
        assert box.y1 <= height, name
    corners = np.array([[b.x0 + 1, b.y0 + 1, b.x1 - 1, b.y1 - 1] for _, b in boxes])
    apart = (corners[:, None, :2] >= corners[None, :, 2:]).any(-1)
    for one, two in np.argwhere(np.triu(~(apart | apart.T), 1)):
        pytest.fail(f"{boxes[one][0]!r} lies over {boxes[two][0]!r}")


def test_nothing_leaks_and_every_drawing_is_the_same(draw):
    before = dict(matplotlib.rcParams)
    figure = draw()
    first = pixels(figure)
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == []
    gone = weakref.ref(figure)
    del figure
    gc.collect()
    assert gone() is None
    settings = {
        "font.size": 20,
        "font.family": "serif",
        "axes.linewidth": 3,
        "figure.constrained_layout.use": True,
        "axes.titlelocation": "right",
        "lines.marker": "x",
        "font.weight": "bold",
        "axes.grid": True,
    }
    with plt.style.context("dark_background"), matplotlib.rc_context(settings):
        figure = draw()
    assert pixels(figure) == first


def test_threads_draw_the_same():
    alone = [pixels(draw()) for draw in list(FIGURES.values())[:3]]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda draw: pixels(draw()), list(FIGURES.values())[:3]))
    assert together == alone


def test_every_present_group_has_its_marks_at_its_values():
    attribute, groups = crossing(**TEN)
    found = records(attribute, groups, absent=[3], small=[1, 8])
    figure = fig.rates_figure(found, "val", attribute)
    assert len(figure.axes) == len(RATES)
    for axes, metric, large, small in zip(
        figure.axes, RATES, marks(figure, "estimates"), marks(figure, "small"), strict=True
    ):
        of = {r.group: r for r in found if r.metric == metric and r.group}
        assert len(large) == 7
        assert len(small) == 2
        expected = sorted(of[group].value for group in (groups[1], groups[8]))
        np.testing.assert_allclose(sorted(small[:, 0]), expected)
        expected = sorted(r.value for r in of.values() if r.support > 30)
        np.testing.assert_allclose(sorted(large[:, 0]), expected)
        bars = [c for c in axes.findobj(LineCollection) if c.get_gid() == "intervals"]
        ends = np.concatenate([np.stack(c.get_segments())[:, :, 0] for c in bars])
        expected = [[r.low, r.high] for r in of.values() if r.low is not None]
        np.testing.assert_allclose(sorted(ends.tolist()), sorted(expected))
    faces = {line.get_gid(): line.get_markerfacecolor() for a in figure.axes for line in a.lines}
    assert faces["small"] == "white" != faces["estimates"]
    lines = [[line for line in a.lines if len(set(line.get_xdata())) == 1] for a in figure.axes]
    overall = [{line.get_xdata()[0] for line in of if line.get_gid() is None} for of in lines]
    assert overall == [{OVERALL["selection_rate"]}, set(), set(), {OVERALL["accuracy"]}]
    assert "all rows 0.243" in said(figure)
    assert "41 rows of unknown sex & race are in no group" in said(figure)
    assert "with 95 % intervals" in said(figure)
    assert "interval" not in said(rates(TWO, intervals=False))


def test_a_baseline_is_drawn_above_in_its_own_colour():
    attribute, groups = crossing(**TWO)
    found, before = records(attribute, groups), records(attribute, groups, seed=7)
    figure = fig.rates_figure(found, "val", attribute, ["accuracy"], baseline=before)
    drawn = [line for line in figure.axes[0].lines if line.get_gid() == "estimates"]
    for line, of, sign in zip(drawn, (before, found), (-1, 1), strict=True):
        expected = {r.value for r in of if r.metric == "accuracy" and r.group}
        assert set(line.get_xdata()) == expected
        assert (np.sign(line.get_ydata() - np.round(line.get_ydata())) == sign).all()
    assert drawn[0].get_color() != drawn[1].get_color()
    figure = fig.gaps_figure(found, "val", baseline=before)
    for key in ("demographic_parity_difference", "equal_opportunity_difference"):
        values = [next(r.value for r in of if r.metric == key) for of in (before, found)]
        assert "{:.3f} → {:.3f}".format(*values) in said(figure)


def test_levels_have_their_figures_and_gaps_stay_gaps():
    panel = fig.Panel(
        "Gap", "share", ["a", "b", "c", "d"], [fig.Series("x", [0.1, None, 0.3, 0.4])], 2.5
    )
    figure = fig.graded_figure("t", [panel])
    (points,) = marks(figure, "x")
    np.testing.assert_allclose(points, [[0, 0.1], [2, 0.3], [3, 0.4]])
    (axes,) = figure.axes
    lines = [line.get_xydata() for line in axes.lines if line.get_gid() is None]
    assert [line[:, 0].tolist() for line in lines] == [[2.5, 2.5], [2, 3]]


def test_groups_farthest_from_all_rows_come_first():
    values = {"a": 0.25, "b": 0.1, "c": 0.9, "d": 0.5, "e": None}
    found = [Record("val", "selection_rate", None, None, 0.3, None, None, 999)]
    for group, value in values.items():
        support = 0 if value is None else 12 if group == "c" else 300
        of = ("val", "selection_rate", "g", f"g={group}", value, None, None, support)
        found.append(Record(*of))
    figure = fig.rates_figure(found, "val", "g")
    order = sorted(values, key=lambda name: place(figure, name))
    assert order == ["d", "b", "a", "c", "e"]
    assert place(figure, "no rows") == pytest.approx(place(figure, "e"), abs=8)
    # Without a figure of all rows: the mean weighted by support is 0.301.
    figure = fig.rates_figure(found[1:], "val", "g")
    assert sorted(values, key=lambda name: place(figure, name)) == order
    assert "all rows 0" not in said(figure)
    assert "Farthest from all rows by selected share first" in said(figure)


def test_a_group_without_positives_says_so_in_its_panel():
    attribute, groups = crossing(sex=SEX)
    found = [
        r._replace(value=None, low=None, high=None, support=0)
        if (r.metric, r.group) == ("true_positive_rate", groups[0])
        else r
        for r in records(attribute, groups)
    ]
    figure = fig.rates_figure(found, "val", attribute)
    assert [len(points) for points in marks(figure, "estimates")] == [2, 1, 2, 2]
    assert said(figure).count("no rows") == 1


def test_rows_are_those_of_the_first_metric():
    # BPSN ranks against all other groups, so that its support says nothing of the group.
    attribute, groups = crossing(sex=SEX)
    found = records(attribute, groups, small=[0])
    found += [Record("val", "auroc_bpsn", attribute, g, 0.7, None, None, 4321) for g in groups]
    assert "4,321" not in said(fig.rates_figure(found, "val", attribute))
    figure = fig.rates_figure(found, "val", attribute)
    assert place(figure, "Male") < place(figure, "Female")
    assert "4,321" in said(fig.rates_figure(found, "val", attribute, ["auroc_bpsn"]))


def test_intervals_without_an_end_are_arrows():
    of = ("val", "treatment_equality_difference", "sex", None)
    far = Record(*of, 0.9, 0.6, 7.5, 100)._replace(attribute="race")
    figure = fig.gaps_figure([Record(*of, 0.4, 0.2, None, 100), far], "val", 0.05)
    assert "0.400 [0.200, –]" in said(figure)
    assert "0.900 [0.600, 7.500]" in said(figure)
    [arrows] = marks(figure, "beyond")
    assert arrows[:, 1].tolist() == [1, 3]
    assert arrows[0, 0] == figure.axes[0].get_xlim()[1] < 1.2


def test_groups_left_out_are_counted():
    figure = rates(MANY, ["accuracy"], absent=range(9), small=range(9, 50))
    assert len(marks(figure, "estimates")[0]) == 60
    text = said(figure)
    assert "Not shown: 615 of 675 groups" in text
    assert "(566 nearer to all rows, 41 with fewer than 30 rows, 9 without rows)" not in text
    assert "(565 nearer to all rows, 41 with fewer than 30 rows, 9 without rows)" in text


def test_cells_hold_figure_interval_and_support():
    attribute, groups = crossing(**TEN)
    found = records(attribute, groups, absent=[3], small=[1, 8])
    figure = fig.intersections_figure(found, "val", "accuracy", ["race", "sex"])
    kinds = [artist.get_gid() for artist in figure.findobj() if artist.get_gid()]
    assert sorted(kinds) == ["absent"] + ["cell"] * 7 + ["small"] * 2
    written = [text.get_text() for text in texts(figure)]
    for record in found:
        if record.metric == "accuracy" and record.group and record.value is not None:
            mark = "†" if record.support < 30 else ""
            assert f"{record.value:.3f}{mark}" in written
            assert f"{record.low:.3f}, {record.high:.3f}" in written
            assert f"n {record.support:,}" in written
    assert written.count("no rows") == 1
    # The attribute with more categories gives the rows, whatever order the attributes come in.
    assert place(figure, "Female") == place(figure, "Male")
    assert [place(figure, race) for race in RACES] == sorted(place(figure, r) for r in RACES)
    assert "white: all rows, 0.850" in said(figure)
    assert "white: mean of cells" in said(intersections(TEN, "true_positive_rate"))


def test_three_attributes_make_a_panel_for_each_category_of_the_shortest():
    figure = intersections(FIFTY, absent=[3, 20])
    assert place(figure, "sex: Female") < place(figure, "sex: Male")
    kinds = [artist.get_gid() for artist in figure.findobj() if artist.get_gid()]
    assert (kinds.count("cell"), kinds.count("absent")) == (48, 2)


def test_small_cells_do_not_stretch_the_colours():
    attribute, groups = crossing(**TEN)
    found = records(attribute, groups, small=[1])
    far = [r._replace(value=1.0) if r.support == 20 else r for r in found]

    def fills(of):
        figure = fig.intersections_figure(of, "val", "selection_rate", ["sex", "race"])
        return [a.get_facecolor() for a in figure.findobj() if a.get_gid() == "cell"]

    assert fills(far) == fills(found)
    assert len(set(fills(found))) == 9


def test_categories_left_out_are_counted():
    text = said(intersections(MANY))
    assert "3 of 15 categories of country, those with fewest rows" in text
    assert "5 of 45 categories of job, those with fewest rows" in text


def test_histograms_are_the_shares_of_rows():
    rng = np.random.default_rng(0)
    scores = [rng.beta(1, 3, 700), rng.beta(2, 2, 41)]
    edges = np.linspace(0, 1, 101)
    counts = [np.histogram(score, edges)[0] for score in scores]
    figure = fig.score_histogram_figure(
        edges, counts, ["sex=Female", "sex=Male"], stage="test", attribute="sex"
    )
    stairs = [s for s in figure.findobj(StepPatch) if s.get_gid() == "histogram"]
    # Male lies farther from all rows, most of whom are female.
    assert place(figure, "Male") < place(figure, "Female")
    for score, patch in zip(reversed(scores), stairs, strict=True):
        values, _, baseline = patch.get_data()
        shares = np.histogram(score, 25, (0, 1))[0] / len(score)
        np.testing.assert_allclose((baseline - values) / (baseline - values).sum(), shares)
        assert (baseline - values).max() == pytest.approx(0.86)


def test_each_label_of_a_group_has_the_same_area():
    counts = [[[60, 20, 20, 0], [0, 0, 100, 300]]]
    figure = fig.score_histogram_figure(
        np.linspace(0, 1, 5), counts, ["g=a"], stage="val", attribute="g"
    )
    areas = [
        (patch.get_data().baseline - patch.get_data().values).sum()
        for patch in figure.findobj(StepPatch)
        if patch.get_gid() == "histogram"
    ]
    assert areas[0] == pytest.approx(areas[1])


def test_histograms_by_label_mark_small_ones_and_name_absent_groups():
    figure = histograms(TEN, absent=[3], small=[1])
    stairs = [patch.get_gid() for patch in figure.findobj(StepPatch) if patch.get_gid()]
    assert (stairs.count("histogram"), stairs.count("small")) == (16, 2)
    assert said(figure).count("no rows") == 1
    assert "label 0" in said(figure)
    lines = [line.get_xdata()[0] for line in figure.axes[0].lines]
    assert lines == [0.5]
    assert not histograms(TEN, threshold=None).axes[0].lines


@pytest.mark.parametrize("attributes", [TWO, TEN])
def test_bins_without_rows_are_left_out_and_small_ones_hollow(attributes):
    score, rate, support = calibration_data(len(crossing(**attributes)[1]))
    figure = calibration(attributes)
    for gid, kept in (("bins", support >= 30), ("small", (support > 0) & (support < 30))):
        points = marks(figure, gid)[0]
        expected = np.stack([score[kept], rate[kept]], 1)
        np.testing.assert_allclose(sorted(points.tolist()), sorted(expected.tolist()))


def test_worst_calibrated_groups_come_first():
    score, rate, support = calibration_data(5, absent=[3], small=[1])
    figure = calibration({"race": RACES}, absent=[3], small=[1])
    error = {
        name: sum(abs(s - r) * n for s, r, n in zip(*of, strict=True) if n) / max(1, of[2].sum())
        for name, of in zip(RACES, zip(score, rate, support, strict=True), strict=True)
    }
    order = sorted(RACES, key=lambda name: place(figure, name))
    large = [name for i, name in enumerate(RACES) if i not in (1, 3)]
    assert order == [*sorted(large, key=lambda name: -error[name]), RACES[1], RACES[3]]
    for name in (*large, RACES[1]):
        assert f"off by {error[name]:.3f}" in said(figure)
    assert "Not shown: 26 of 50 groups" in said(calibration(FIFTY))


def test_gaps_show_every_difference_and_the_tolerance():
    figure = gaps(0.05)
    [estimates], [small] = marks(figure, "estimates"), marks(figure, "small")
    assert len(estimates) == 4
    np.testing.assert_allclose(small[:, 0], [0.2])
    lines = [line for line in figure.axes[0].lines if set(line.get_xdata()) == {0.05}]
    assert len(lines) == 1
    text = said(figure)
    found = [r for r in records(*crossing(sex=SEX)) if r.metric.endswith("_difference")]
    for record in found:
        assert f"{record.value:.3f} [{record.low:.3f}, {record.high:.3f}]" in text
    assert "0.200†" in text
    assert text.count("not estimable") == 1
    assert "tolerance" not in said(gaps(None))


def test_curves_keep_their_values_and_their_gaps():
    figure = curves()
    of = {line.get_gid(): line.get_ydata() for axes in figure.axes for line in axes.lines}
    np.testing.assert_allclose(of["demographic_parity_difference"], [0.2, 0.15, 0.1])
    np.testing.assert_array_equal(np.isnan(of["accuracy"]), [False, True, False])
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]


@pytest.mark.parametrize("better", itertools.product(["max", "min"], repeat=2))
def test_front_of_an_epoch_shows_models_and_what_is_attained(better):
    signs = np.array([1.0 if end == "max" else -1.0 for end in better])
    # Both are better when higher, times the signs.
    kept = np.array([[0.2, 0.9], [0.5, 0.6], [0.9, 0.3]]) * signs
    figure = fig.epoch_front_figure(kept, [[0.1, 0.2]] * signs, ["a", "b"], better, epoch=3)
    assert marks(figure, "kept")[0].tolist() == kept[:, ::-1].tolist()
    assert marks(figure, "epoch")[0].tolist() == [[0.2 * signs[1], 0.1 * signs[0]]]
    (line,) = (a for a in figure.axes[0].lines if a.get_gid() == "attained")
    assert line.get_drawstyle() == "steps-post"
    # From each model the line goes on at its height to the next one: to what it attains as well.
    for (_, height), (end, _) in itertools.pairwise(np.asarray(line.get_xydata())):
        corner = np.array([height, end]) * signs
        assert any((corner <= model * signs).all() for model in kept)
    assert "Front at epoch 3, validation" in said(figure)
    assert "kept so far: 3" in said(figure)


@pytest.mark.parametrize(
    ("models", "better", "words"),
    [
        ([], ("max", "min"), "kept, models: found none"),
        ([[0.1, np.nan]], ("max", "min"), "models: found shape"),
        ([[0.1, 0.2, 0.3]], ("max", "min"), "models: found shape"),
        ([[0.1, 0.2]], ("up", "min"), "better: found 'up'"),
    ],
)
def test_fronts_that_cannot_be_are_named(models, better, words):
    with pytest.raises(ArgumentError, match=words):
        fig.epoch_front_figure([], models, ["a", "b"], better, epoch=0)


def test_front_of_an_epoch_without_a_line():
    assert not [a for a in epoch_front(line=False).axes[0].lines if a.get_gid() == "attained"]


def sex_records():
    return records(*crossing(sex=SEX))


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda r: fig.rates_figure([], "val", "sex"), "records"),
        (lambda r: fig.rates_figure(r, "valid", "sex"), "stage: .*did you mean 'val'"),
        (lambda r: fig.rates_figure(r, "val", "sexx"), "attribute: .*did you mean 'sex'"),
        (lambda r: fig.rates_figure(r, "val", "sex", ["acuracy"]), "metrics: .*'accuracy'"),
        (lambda r: fig.rates_figure(r, "val", "sex", "accuracy"), "metrics: .*sequence"),
        (lambda r: fig.rates_figure(r, "val", "sex", []), "metrics: found none"),
        (lambda r: fig.intersections_figure(r, "val", "accuracy", ["sex", "age"]), "attribute"),
        (lambda r: fig.intersections_figure(r, "val", "accuracy", "sex"), "attributes"),
        (lambda r: fig.intersections_figure(r, "val", "accuracy", ["sex"]), "attributes"),
        (lambda r: fig.intersections_figure(r, "val", "accuracy", ["sex", "sex"]), "attributes"),
        (lambda r: fig.intersections_figure(r, "test", "accuracy", ["a", "b"]), "stage"),
        (lambda r: fig.gaps_figure(r, "val", -0.1), "tolerance: found -0.1"),
        (lambda r: fig.gaps_figure(r, "val", float("nan")), "tolerance: found nan"),
        (lambda r: fig.gaps_figure(r[:3], "val"), "records: found no difference"),
        (lambda r: fig.curves_figure({}), "history"),
        (lambda r: fig.curves_figure({"a": [1.0], "b": [1.0, 2.0]}), "history"),
        (lambda r: fig.graded_figure("t", []), "panels: found 0"),
        (
            lambda r: fig.graded_figure(
                "t", [fig.Panel("Gap", "", ["a"], [fig.Series("s", [None])])]
            ),
            "panel 'Gap'",
        ),
        (lambda r: fig.curves_figure({"a": [None]}), "history"),
        (lambda r: fig.curves_figure({str(i): [1.0] for i in range(19)}), "19 curves"),
    ],
)
def test_what_cannot_be_shown_is_named(call, names):
    with pytest.raises(ArgumentError, match=names):
        call(sex_records())


def test_crossings_name_what_they_do_not_have():
    found = records(*crossing(sex=SEX, race=RACES))
    with pytest.raises(ArgumentError, match=r"metric: .*did you mean 'accuracy'"):
        fig.intersections_figure(found, "val", "acuracy", ["sex", "race"])
    found = [r._replace(group=r.group and r.group.replace("=", ":")) for r in found]
    with pytest.raises(ArgumentError, match="records: found the group"):
        fig.intersections_figure(found, "val", "accuracy", ["sex", "race"])


@pytest.mark.parametrize(
    ("edges", "counts", "names"),
    [
        ([0, 0.5, 1], [[1, 2, 3]], "counts"),
        ([0, 0.5, 1], [[1, 2]] * 2, "counts"),
        ([0, 0.5, 1], [[1, -2]], "negative"),
        ([0, 0.5, 1], [[1, np.nan]], "not finite"),
        ([0, 0.5, 2], [[1, 2]], "edges"),
        ([0, 1, 0.5], [[1, 2]], "edges"),
    ],
)
def test_histograms_that_cannot_be_are_named(edges, counts, names):
    with pytest.raises(ArgumentError, match=names):
        fig.score_histogram_figure(edges, counts, ["g=a"], stage="val", attribute="g")


@pytest.mark.parametrize(
    ("score", "rate", "support", "names"),
    [
        ([[0.1, 0.9]], [[0.1, 0.9]], [[5]], "support: found shapes"),
        ([[0.1, 0.9]], [[0.1, 0.9]], [[5, -1]], "support"),
        ([[0.1, 1.9]], [[0.1, 0.9]], [[5, 1]], "mean_score"),
        ([[0.1, 0.9]], [[0.1, np.nan]], [[5, 1]], "positive_rate"),
    ],
)
def test_calibrations_that_cannot_be_are_named(score, rate, support, names):
    with pytest.raises(ArgumentError, match=names):
        fig.calibration_figure(score, rate, support, ["g=a"], stage="val", attribute="g")
