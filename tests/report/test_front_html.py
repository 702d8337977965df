"""`front.html` in headless Chromium: it chooses as our Python does, and saves what was decided."""

import hashlib
import itertools
import json
from datetime import datetime, timezone

import numpy as np
import pandas as pd
import pytest
import torch
from browser import open_offline
from helpers import quiet_trainer

from fairlightning.callbacks import LambdaRamp
from fairlightning.data import BatchLoader, adult
from fairlightning.exceptions import DataError
from fairlightning.front import FrontModule
from fairlightning.functional.front_choice import best_weighted, best_within
from fairlightning.functional.pareto import nondominated
from fairlightning.metrics import SMALL_SUPPORT, Record
from fairlightning.models import MLP
from fairlightning.objectives import ParityPenalty
from fairlightning.report.pages import front_page
from fairlightning.verification import evaluate

STRENGTHS = [0.0, 0.3, 1.0, 3.0, 10.0]
GAP = "demographic_parity_difference"
NASTY = '</script><script>alert(1)</script><img src=x onerror=alert(2)> & "quoted" <b>bold</b>'


def points_of(front, data, rows=1500):
    """A point of front.json for each member, from its predictions."""
    for member, strength in enumerate(STRENGTHS):
        network, records = front.export(member).eval(), []
        for split, stage in (("validation", "val"), ("test", "test")):
            batch = data.batch(split)
            names = data.groups.to_dict().items()
            codes = batch.sensitive[:rows].T
            columns = zip(names, codes, strict=True)
            frame = pd.DataFrame({name: np.asarray(of)[code] for (name, of), code in columns})
            with torch.no_grad():
                score = torch.sigmoid(network(batch.inputs)[0][:rows, 0])
            frame = frame.assign(score=score.double(), target=batch.target[:rows], split=stage)
            records += evaluate(frame, "sex")
            if stage == "test":  # by itself: intervals of all intersections would take long
                records += [r for r in evaluate(frame, "race") if r.attribute is not None]
            size = sum(weights.detach().abs().sum().item() for weights in network.parameters())
            records.append(Record(stage, "complexity", None, None, size, None, None, 0))
        yield {
            "id": f"member={member}",
            "settings": {"strength": strength},
            "member": member,
            "epoch": 0,
            "model": f"members/member={member}.pt",
            "load": f"load_run('runs/front', member={member})",
            "records": [record._asdict() for record in records],
        }


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The content of front.json for a small front that was really trained."""
    data = adult(batch_size=256)
    data.setup()
    front = FrontModule(
        MLP(data.num_numeric, data.cardinalities),
        data.groups,
        strength=STRENGTHS,
        objectives={"parity": ParityPenalty(data.groups, attributes=["sex"])},
    )
    trainer = quiet_trainer(
        tmp_path_factory.mktemp("front"), max_epochs=1, limit_train_batches=40, limit_val_batches=0
    )
    trainer.callbacks.append(LambdaRamp())
    trainer.fit(front, BatchLoader(data.batch("train"), 256, shuffle=True, seed=0))
    return {
        "version": 1,
        "title": "adult, mlp, parity",
        "criteria": [
            {"metric": "accuracy", "attribute": None},
            {"metric": GAP, "attribute": "sex"},
            {"metric": "complexity", "attribute": None},
        ],
        "baseline": "member=0",
        "points": list(points_of(front, data)),
        "limit": {
            "metric": GAP,
            "attribute": "sex",
            "stage": "test",
            "points": [[0.85, 0.15], [0.84, 0.05], [0.835, 0.0]],
        },
    }


def saved(folder, content):
    folder.mkdir(exist_ok=True)
    source = json.dumps(content)
    (folder / "front.json").write_text(source, encoding="utf-8")
    path = folder / "front.html"
    path.write_text(front_page(source), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def opened(browser, content, tmp_path_factory):
    path = saved(tmp_path_factory.mktemp("page"), content)
    return open_offline(browser, path, viewport={"width": 1360, "height": 900})


@pytest.fixture
def page(opened):
    """The page as it opens; a complaint or a request fails the test."""
    opened.page.click("#reset")
    for field in ("reason", "by"):
        opened.page.fill(f"#{field}", "")
    yield opened.page
    assert opened.complaints == []


def costs_of(content, stage="val"):
    rows = []
    for point in content["points"]:
        found = {(r["metric"], r["attribute"], r["stage"], r["group"]): r for r in point["records"]}
        values = [
            found[c["metric"], c["attribute"], stage, None]["value"] for c in content["criteria"]
        ]
        rows.append([1 - values[0], *values[1:]])
    return np.array(rows)


def rule(costs, importance, bounds):
    """The page's rule in the words of fairlightning.functional; None if no model is within."""
    front = costs[nondominated(costs)]
    spread = np.where(np.ptp(front, axis=0) > 0, np.ptp(front, axis=0), 1.0)
    limits = np.array([np.inf if bound is None else bound for bound in bounds])
    within = np.flatnonzero((costs <= limits).all(1))
    if not within.size:
        return None
    return int(within[best_weighted(costs[within], importance / spread)])


def slide(page, selector, value):
    """Move a slider as its user does: the value changes, and `input` is heard."""
    page.eval_on_selector(
        selector,
        "(slider, value) => { slider.value = value;"
        " slider.dispatchEvent(new Event('input', { bubbles: true })); }",
        str(value),
    )


def drawn(page):
    """Wait until the plots, which follow once per frame, have been drawn."""
    page.evaluate("() => new Promise(requestAnimationFrame)")


def chosen(page):
    return page.evaluate("currentChoice()")


def test_rule_is_that_of_our_python(page):
    random = np.random.default_rng(0)
    cases = []
    for criteria, _ in itertools.product((1, 2, 3, 4), range(100)):
        # Few decimals, so that costs of one criterion are often equal and models dominate others.
        costs = random.random((int(random.integers(1, 12)), criteria)).round(1)
        costs = np.unique(costs, axis=0)[::-1] * 10.0 ** random.integers(-2, 4, criteria)
        importance = random.integers(0, 101, criteria) + 0.125 * random.random(criteria)
        bounds = [None if random.random() < 0.5 else float(c.mean()) for c in costs.T]
        cases.append((costs, importance, bounds))
    answers = page.evaluate(
        "cases => cases.map(([costs, importance, bounds]) =>"
        " chooseModel(costs, importance, bounds))",
        [[costs.tolist(), importance.tolist(), bounds] for costs, importance, bounds in cases],
    )
    found = [answer["index"] if answer["within"] else None for answer in answers]
    assert found == [rule(*case) for case in cases]
    assert None in found


def test_full_weight_on_accuracy_under_a_gap_is_best_within(page):
    random = np.random.default_rng(1)
    fronts = [random.random((8, 2)).round(1) for _ in range(100)]
    bounds = [float(np.median(costs[:, 1])) for costs in fronts]
    found = page.evaluate(
        "cases => cases.map(([costs, bound]) => chooseModel(costs, [1, 0], [null, bound]).index)",
        [[costs.tolist(), bound] for costs, bound in zip(fronts, bounds, strict=True)],
    )
    assert found == [best_within(c, bound) for c, bound in zip(fronts, bounds, strict=True)]


MOVE = """states => states.map(([importance, ranges]) => {
  const enter = (id, value) => {
    document.getElementById(id).value = value;
    document.getElementById(id).dispatchEvent(new Event("input", { bubbles: true }));
  };
  importance.forEach((weight, j) => enter(`weight-${j}`, weight));
  ranges.forEach((bound, j) => enter(`bound-${j}-range`, bound));
  return {
    ...currentChoice(),
    entered: ranges.map((_, j) => byId(`bound-${j}`).value),
    verdict: byId("verdict").textContent,
    chosen: byId("chosen").textContent,
    row: document.querySelector("input[name=model]:checked").value,
  };
})"""


def test_sliders_move_the_choice_as_our_python_does(page, content):
    costs, random = costs_of(content), np.random.default_rng(2)
    baseline = costs[0, 0]
    states = []
    for _ in range(60):
        ranges = [random.choice(column) for column in costs.T]
        ranges[0] = max(0.0, ranges[0] - baseline)
        for j in np.flatnonzero(random.random(3) < 0.5):
            ranges[j] = 1e9  # the right end of the slider: no bound
        states.append((random.integers(1, 101, 3).tolist(), ranges))
    found = set()
    for (importance, _), seen in zip(states, page.evaluate(MOVE, states), strict=True):
        bounds = [float(text) if text else None for text in seen["entered"]]
        if bounds[0] is not None:
            bounds[0] += baseline
        expected = rule(costs, np.array(importance), bounds)
        assert seen["within"] == (expected is not None)
        if expected is not None:
            assert seen["index"] == expected
        name = content["points"][seen["index"]]["id"]
        assert name in seen["verdict"]
        assert name in seen["chosen"]
        assert seen["row"] == str(seen["index"])
        found.add(seen["index"])
    assert len(found) > 1


def test_ends_of_the_front_are_reached_by_weight_alone(page, content):
    costs = costs_of(content)
    for best in range(3):
        for j in range(3):
            slide(page, f"#weight-{j}", 100 * (j == best))
        assert costs[chosen(page)["index"], best] == costs[:, best].min()


def test_choice_shows_validation_and_test_figures_and_groups_with_support(page, content):
    index = chosen(page)["index"]
    records = content["points"][index]["records"]
    table = page.inner_text("#chosen")
    for metric, attribute in (("accuracy", None), (GAP, "sex")):
        for stage in ("val", "test"):
            key = (stage, metric, attribute, None)
            (record,) = (r for r in records if Record(**r).key == key)
            assert f"{record['value']:.3f}" in table
            assert f"[{record['low']:.3f}, {record['high']:.3f}]" in table
    page.select_option("#attribute", "race")
    drawn(page)
    groups = page.inner_text("#groups-table")
    rates = [r for r in records if r["stage"] == "test" and r["attribute"] == "race" and r["group"]]
    for metric in ("selection_rate", "true_positive_rate"):
        for record in (r for r in rates if r["metric"] == metric):
            small = " †" if record["support"] < SMALL_SUPPORT else ""
            if record["value"] is not None:
                assert f"{record['value']:.3f}{small}" in groups
            assert f"{record['support']:,} rows" in groups
    assert "†" in groups  # Adult has groups that small


def test_no_model_within_the_bounds_is_said_and_the_nearest_shown(page, content):
    costs = costs_of(content)
    spread = np.ptp(costs[nondominated(costs)], axis=0)
    least = costs.min(0)
    bounds = {1: float(least[1] / 2), 2: float(least[2] * 0.9)}
    for j, bound in bounds.items():
        page.fill(f"#bound-{j}", repr(bound))
    over = np.maximum((costs[:, 1] - bounds[1]) / spread[1], (costs[:, 2] - bounds[2]) / spread[2])
    choice = chosen(page)
    assert choice == {"index": int(over.argmin()), "how": "nearest", "within": False}
    verdict = page.inner_text("#verdict")
    assert verdict.startswith("No model meets the bounds.")
    assert content["points"][choice["index"]]["id"] in verdict
    assert "0 of 5 models" in page.inner_text("#within")


def test_without_weight_nothing_is_chosen(page):
    for j in range(3):
        slide(page, f"#weight-{j}", 0)
    assert chosen(page)["index"] is None
    assert "all weights are 0" in page.inner_text("#verdict")
    page.fill("#reason", "none")
    page.fill("#by", "nobody")
    page.click("text=Save decision")
    assert "Nothing is chosen" in page.inner_text("#saved")


@pytest.mark.parametrize("text", ["-1", "1e"])
def test_a_bound_that_is_no_number_is_refused_and_not_applied(page, text):
    page.focus("#bound-1")
    page.keyboard.type(text)
    assert "number of at least 0" in page.inner_text("#bound-1-error")
    assert page.evaluate("state.bounds[1]") is None
    page.fill("#reason", "why")
    page.fill("#by", "who")
    page.click("text=Save decision")
    assert page.evaluate("document.activeElement.id") == "bound-1"
    assert page.inner_text("#saved") == ""


def decided(page, folder):
    with page.expect_download() as download:
        page.click("text=Save decision")
    assert download.value.suggested_filename == "decision.json"
    path = folder / "decision.json"
    download.value.save_as(path)
    return json.loads(path.read_text(encoding="utf-8"))


def test_decision_is_saved_and_says_what_was_chosen_and_why(page, content, opened, tmp_path):
    costs = costs_of(content)
    slide(page, "#weight-0", 80)
    slide(page, "#weight-2", 0)
    bound = float(np.median(costs[:, 1]))
    page.fill("#bound-1", repr(bound))
    page.fill("#bound-0", "0.5")
    page.fill("#reason", ' Größere Lücke als "0.05"\nist nicht vertretbar. ')
    page.fill("#by", "Ann O'Neil")
    before = datetime.now(timezone.utc)
    decision = decided(page, tmp_path)
    point = content["points"][rule(costs, np.array([80, 50, 0]), [None, bound, None])]
    assert decision["version"] == 1
    assert decision["chosen"] == {k: v for k, v in point.items() if k != "records"}
    source = json.dumps(content).encode()
    assert decision["front"]["sha256"] == hashlib.sha256(source).hexdigest()
    assert decision["front"]["sha256"] in page.inner_text("footer")
    assert (decision["how"], decision["within_bounds"]) == ("rule", True)
    assert decision["reason"] == 'Größere Lücke als "0.05"\nist nicht vertretbar.'
    assert decision["by"] == "Ann O'Neil"
    when = datetime.fromisoformat(decision["time"].replace("Z", "+00:00"))
    assert abs((when - before).total_seconds()) < 60
    for stage in ("val", "test"):
        assert [Record(**record) for record in decision["values"][stage]] == [
            next(
                Record(**record)
                for record in point["records"]
                if Record(**record).key == (stage, c["metric"], c["attribute"], None)
            )
            for c in content["criteria"]
        ]
    limits = {(b["metric"], b["kind"]): b for b in decision["bounds"]}
    assert limits[GAP, "value"]["at_most"] == bound
    loss = limits["accuracy", "loss_against_baseline"]
    assert (loss["at_most"], loss["cost_at_most"]) == (0.5, pytest.approx(costs[0, 0] + 0.5))
    assert "decision.json saved" in page.inner_text("#saved")


def test_decision_can_be_made_again_from_its_file(page, content, tmp_path):
    for j, weight in enumerate((31, 64, 17)):
        slide(page, f"#weight-{j}", weight)
    costs = costs_of(content)
    page.fill("#bound-1", repr(float(np.sort(costs[:, 1])[-2])))
    page.fill("#reason", "balance")
    page.fill("#by", "Ann")
    decision = decided(page, tmp_path)
    metrics = [c["metric"] for c in content["criteria"]]
    within = np.ones(len(costs), dtype=bool)
    for bound in decision["bounds"]:
        within &= costs[:, metrics.index(bound["metric"])] <= bound["cost_at_most"]
    rows = np.flatnonzero(within)
    best = rows[best_weighted(costs[rows], [w["weight_per_unit"] for w in decision["weights"]])]
    assert content["points"][best]["id"] == decision["chosen"]["id"]


def test_reason_and_name_are_asked_for(page):
    page.click("text=Save decision")
    assert page.inner_text("#reason-error") != ""
    assert page.inner_text("#by-error") != ""
    assert page.evaluate("document.activeElement.id") == "reason"
    assert page.inner_text("#saved") == ""


def test_keyboard_alone_decides(page, tmp_path):
    def tab_to(target):
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == target:
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none", f"the focus on {target} cannot be seen"
                return
        raise AssertionError(f"{target} cannot be reached")

    page.evaluate("document.activeElement.blur()")
    tab_to("weight-0")
    page.keyboard.press("End")
    assert page.evaluate("state.importance[0]") == 100
    tab_to("bound-1-range")
    page.keyboard.press("ArrowLeft")
    assert page.input_value("#bound-1") != ""
    before = chosen(page)["index"]
    tab_to(f"model-{before}")
    page.keyboard.press("ArrowDown")
    after = chosen(page)
    assert after["how"] == "manual"
    assert after["index"] != before
    tab_to("reason")
    page.keyboard.type("Chosen by keyboard.")
    page.keyboard.press("Tab")
    page.keyboard.type("Ann")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    decision = json.loads(download.value.path().read_text(encoding="utf-8"))
    assert (decision["how"], decision["reason"]) == ("manual", "Chosen by keyboard.")


def test_a_click_on_a_point_chooses_it_by_hand(page, content):
    page.evaluate("scrollTo(0, 0)")
    drawn(page)
    # Where the plot draws each point, from its own axes.
    spots = page.evaluate(
        """() => {
          const plot = byId("plot"), box = plot.getBoundingClientRect();
          const { xaxis, yaxis } = plot._fullLayout;
          return POINTS.map((_, i) => ({
            x: box.x + xaxis._offset + xaxis.d2p(figure(i, "test", CRITERIA[1]).value),
            y: box.y + yaxis._offset + yaxis.d2p(figure(i, "test", CRITERIA[0]).value),
          }));
        }"""
    )
    far = max(
        range(len(spots)),
        key=lambda i: min(
            abs(spots[i]["x"] - s["x"]) + abs(spots[i]["y"] - s["y"])
            for k, s in enumerate(spots)
            if k != i
        ),
    )
    page.mouse.move(spots[far]["x"] - 3, spots[far]["y"])
    page.mouse.move(spots[far]["x"], spots[far]["y"])
    page.mouse.click(spots[far]["x"], spots[far]["y"])
    page.locator("#verdict.manual").wait_for()
    assert chosen(page)["index"] == far
    assert "Chosen by hand" in page.inner_text("#verdict")
    page.click("#by-rule")
    assert chosen(page)["how"] == "rule"


def test_a_dominated_choice_by_hand_is_marked(page, content, tmp_path):
    costs = costs_of(content)
    dominated = np.flatnonzero(~nondominated(costs[:, :2]))
    for index in range(len(costs)):
        page.check(f"#model-{index}")
        on_front = bool(nondominated(costs)[index])
        assert ("dominated" in page.inner_text("#chosen")) == (not on_front)
        assert ("on the front" in page.inner_text(f"#row-{index}")) == on_front
    assert dominated.size < len(costs)


def test_axes_stage_and_limit_line(page):
    drawn(page)
    names = "() => byId('plot').data.map(trace => trace.name)"
    assert "Limit, were the group known" in page.evaluate(names)
    assert "Baseline" in page.evaluate(names)
    bars = "byId('plot').data.at(-1).error_{}.array[0]"
    assert page.evaluate(bars.format("x")) > 0
    assert page.evaluate(bars.format("y")) > 0
    page.select_option("#axis-x", "2")
    drawn(page)
    assert "Limit, were the group known" not in page.evaluate(names)
    assert "omplexity" in page.evaluate("byId('plot').layout.xaxis.title.text")
    page.select_option("#axis-x", "1")
    page.select_option("#stage", "val")
    drawn(page)
    shown = page.evaluate("byId('plot').data.at(-1).y[0]")
    index = chosen(page)["index"]
    assert shown == page.evaluate(f"figure({index}, 'val', CRITERIA[0]).value")
    page.select_option("#stage", "test")


def test_print_shows_the_choice(page):
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 30_000  # a blank page has about 1 000 bytes
    page.emulate_media(media="print")
    assert page.is_visible("#verdict")
    assert page.is_visible("#chosen")
    assert page.is_visible("#plot")
    assert not page.is_visible("text=Save decision")
    page.emulate_media(media="screen")


def test_narrow_screens_scroll_in_one_direction_only(page):
    page.set_viewport_size({"width": 360, "height": 700})
    page.wait_for_timeout(200)  # plots follow their card by and by
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    plot = page.eval_on_selector("#plot .main-svg", "svg => svg.clientWidth")
    assert 200 < plot <= page.eval_on_selector("#plot", "plot => plot.clientWidth")
    page.set_viewport_size({"width": 1360, "height": 900})


def test_every_field_has_a_name(page):
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("input, select, textarea, button")]
          .filter((e) => !(e.labels?.length || e.textContent.trim() || e.ariaLabel))
          .map((e) => e.id)"""
    )
    assert nameless == []


def test_names_from_data_are_text(browser, content, tmp_path):
    """Titles, settings, groups and commands may hold anything; also no baseline, fewer figures."""
    hostile = json.loads(json.dumps(content).replace("sex=Female", "sex=" + "NAME"))
    hostile |= {"title": NASTY, "baseline": None, "limit": None}
    hostile["criteria"] = hostile["criteria"][:2]
    for point in hostile["points"]:
        point |= {"id": point["id"] + NASTY, "settings": {NASTY: NASTY}, "load": NASTY}
        for record in point["records"]:
            if record["group"]:
                record["group"] = record["group"].replace("NAME", NASTY)
    gap = next(
        r for r in hostile["points"][1]["records"] if (r["metric"], r["attribute"]) == (GAP, "sex")
    )
    assert gap["stage"] == "val"
    gap |= {"value": None, "low": None, "high": None}
    page, complaints = open_offline(browser, saved(tmp_path, hostile))
    drawn(page)
    assert page.inner_text("h1") == NASTY
    assert page.inner_text("#load") == NASTY
    assert NASTY in page.inner_text("#chosen")
    assert NASTY in page.inner_text("#groups-table")
    assert page.query_selector("img") is None
    assert page.query_selector("#bound-0") is None
    assert "Without a baseline" in page.inner_text("#preferences")
    page.check("#model-1")
    assert "could be estimated" in page.inner_text("#verdict")
    assert "not estimable" in page.inner_text("#row-1")
    page.click("#copy")
    page.locator("#copied:not(:empty)").wait_for()
    assert complaints == []


def test_requests_and_complaints_are_noticed(browser, tmp_path):
    """The tests above could not fail otherwise."""
    path = tmp_path / "bad.html"
    path.write_text("<img src='http://example.org/x.png'><script>console.error('oh'); y</script>")
    page, complaints = open_offline(browser, path)
    page.wait_for_load_state()
    kinds = {complaint.split(":")[0] for complaint in complaints}
    assert {"request", "error", "exception"} <= kinds


@pytest.mark.parametrize(
    "change",
    [
        {"points": []},
        {"criteria": []},
        {"baseline": "member=99"},
        {"points": None},
    ],
)
def test_what_is_no_front_is_refused(content, change):
    with pytest.raises(DataError, match=r"front: found .*Mend"):
        front_page(json.dumps(content | change))


def test_no_numbers_are_refused(content):
    limit = {**content["limit"], "points": [[float("nan"), 0.1]]}
    with pytest.raises(DataError, match="NaN"):
        front_page(json.dumps(content | {"limit": limit}))
