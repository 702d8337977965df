"use strict";
/* The texts and tables: summary, verdict, figures of the chosen model, list of all models. */

function summary() {
  const front = ON_FRONT.filter(Boolean).length;
  const models = POINTS.length === 1 ? "1 model" : `${POINTS.length} models`;
  const baseline = BASELINE === null ? "no baseline" : `baseline ${FRONT.baseline}`;
  const unknown = COSTS.filter((row) => row === null).length;
  const missing = unknown ? `, ${unknown} with figures that could not be estimated` : "";
  byId("summary").textContent = `${models}${missing}; ${front} not dominated on validation; ${baseline}.`;
}

/** What the choice is and why, in one or two sentences; announced by screen readers. */
function verdictText({ index, how, within }) {
  if (how === "none") {
    const all = state.importance.every((weight) => weight === 0);
    return all
      ? "No choice: all weights are 0. Raise one, or pick a model from the list."
      : "No choice: no model has an estimate of every criterion on validation.";
  }
  const name = POINTS[index].id;
  const figures = CRITERIA.map((c) => `${c.name} ${number(figure(index, "val", c)?.value)}`).join(", ");
  const dominated = COSTS[index] && !ON_FRONT[index] ? " Another model is at least as good in every criterion and better in one." : "";
  const bounded = state.bounds.some((bound) => bound !== null);
  const over = excesses(index);
  if (how === "nearest") {
    return `No model meets the bounds. Nearest: ${name}, which exceeds ${over}. On validation: ${figures}.`;
  }
  if (how === "manual") {
    const unknown = COSTS[index] ? "" : " Not all of its figures could be estimated.";
    const outside = !within && over ? ` It is outside the bounds: it exceeds ${over}.` : "";
    return `Chosen by hand: ${name}.${dominated}${unknown}${outside} On validation: ${figures}.`;
  }
  const among = bounded ? ` of ${countWithin()} within the bounds` : "";
  return `Chosen by the rule${among}: ${name}. On validation: ${figures}.`;
}

function valueCell(record, difference = null) {
  if (!record || record.value === null) return element("td", { class: "n" }, NONE);
  return element(
    "td",
    { class: isSmall(record) ? "n small" : "n" },
    number(record.value) + (isSmall(record) ? " †" : ""),
    interval(record) ? element("small", {}, interval(record)) : null,
    difference === null ? null : element("small", {}, difference),
  );
}

function againstBaseline(index, criterion) {
  const [own, base] = [index, BASELINE].map((i) => figure(i, "test", criterion)?.value ?? null);
  return own === null || base === null ? NONE : signed(own - base);
}

function chosenTable(index) {
  const compared = BASELINE !== null;
  const head = ["Criterion", "Validation", "Test", ...(compared ? ["Test, against baseline"] : [])];
  const body = element("tbody");
  for (const criterion of CRITERIA) {
    const row = element("tr", {}, element("th", { scope: "row" }, criterion.name));
    row.append(valueCell(figure(index, "val", criterion)), valueCell(figure(index, "test", criterion)));
    if (compared) row.append(element("td", { class: "n" }, againstBaseline(index, criterion)));
    body.append(row);
  }
  const cells = head.map((text, j) => element("th", { scope: "col", class: j ? "n" : null }, text));
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...cells)), body);
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Figures of the chosen model" }, table);
}

const HOW = { rule: "by the rule", nearest: "nearest to the bounds", manual: "by hand" };

function drawChoice(choice) {
  const verdict = byId("verdict");
  const text = verdictText(choice);
  if (verdict.textContent !== text) verdict.textContent = text;
  verdict.className = choice.how;
  byId("by-rule").hidden = choice.how !== "manual";
  byId("loading").hidden = choice.index === null;
  byId("copied").textContent = "";
  const chosen = byId("chosen");
  chosen.replaceChildren();
  if (choice.index === null) return;
  const point = POINTS[choice.index];
  const badges = [HOW[choice.how]];
  if (choice.index === BASELINE) badges.push("baseline");
  if (COSTS[choice.index] && !ON_FRONT[choice.index]) badges.push("dominated");
  if (!choice.within) badges.push("outside the bounds");
  const small = CRITERIA.some((c) => ["val", "test"].some((s) => isSmall(figure(choice.index, s, c))));
  chosen.append(
    element("p", { class: "name" }, point.id, ...badges.map((text) => element("span", { class: "badge" }, text))),
    element("p", { class: "settings" }, settingsOf(choice.index)),
    chosenTable(choice.index),
  );
  if (small) chosen.append(element("p", { class: "hint" }, `† Over a group of fewer than ${PAGE.small} rows.`));
  byId("load").textContent = point.load ?? point.model;
}

function modelsTable() {
  const column = (text, attributes = {}) => element("th", { scope: "col", ...attributes }, text);
  const top = element("tr", {}, column("Model", { rowspan: 2 }), column("Settings", { rowspan: 2 }));
  const below = element("tr");
  for (const criterion of CRITERIA) {
    top.append(element("th", { scope: "colgroup", colspan: 2, class: "pair" }, criterion.name));
    below.append(column("validation", { class: "n" }), column("test", { class: "n" }));
  }
  top.append(column("On validation", { rowspan: 2 }));
  const body = element("tbody", { role: "radiogroup", "aria-label": "Chosen model" });
  const order = POINTS.map((_, i) => i).sort((a, b) => (COSTS[a]?.[0] ?? Infinity) - (COSTS[b]?.[0] ?? Infinity) || a - b);
  for (const index of order) body.append(modelRow(index));
  byId("models-table").replaceChildren(element("thead", {}, top, below), body);
  const small = POINTS.some((_, i) => CRITERIA.some((c) => ["val", "test"].some((s) => isSmall(figure(i, s, c)))));
  byId("models-note").textContent = small ? `† Over a group of fewer than ${PAGE.small} rows, where chance alone moves it widely.` : "";
}

function modelRow(index) {
  const radio = element("input", {
    type: "radio",
    name: "model",
    id: `model-${index}`,
    value: String(index),
    onchange: () => chooseByHand(index),
  });
  const label = element("label", { for: `model-${index}` }, radio, ` ${POINTS[index].id}`);
  const row = element("tr", { id: `row-${index}` }, element("th", { scope: "row" }, label));
  row.append(element("td", {}, settingsOf(index)));
  for (const criterion of CRITERIA) {
    row.append(valueCell(figure(index, "val", criterion)), valueCell(figure(index, "test", criterion)));
  }
  row.append(element("td", { class: "status" }));
  return row;
}

/** Mark the chosen row, and say of each model whether it is dominated and within the bounds. */
function markModels(choice) {
  const bounds = allowedCosts();
  POINTS.forEach((_, i) => {
    const row = byId(`row-${i}`);
    row.classList.toggle("chosen", i === choice.index);
    byId(`model-${i}`).checked = i === choice.index;
    const words = [];
    if (i === BASELINE) words.push("baseline");
    if (COSTS[i] === null) words.push("not estimable");
    else {
      words.push(ON_FRONT[i] ? "on the front" : "dominated");
      if (!withinBounds(COSTS[i], bounds)) words.push("outside the bounds");
    }
    row.querySelector(".status").textContent = words.join(", ");
  });
}
