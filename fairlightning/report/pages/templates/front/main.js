"use strict";
/* Wires the controls to the state; every change draws the whole page anew. */

let drawing = null; // the frame in which the plots will be drawn

/** Texts and tables follow at once, the plots once per frame, however fast a slider is moved. */
function draw() {
  const choice = currentChoice();
  const within = countWithin();
  const bounded = state.bounds.some((bound) => bound !== null);
  byId("within").textContent = bounded ? `${within} of ${POINTS.length} models are within the bounds.` : "";
  drawChoice(choice);
  markModels(choice);
  if (drawing !== null) cancelAnimationFrame(drawing);
  drawing = requestAnimationFrame(() => {
    drawing = null;
    drawPlot(choice);
    drawGroups(choice);
  });
}

function chooseByHand(index) {
  state.manual = index;
  draw();
}

/** A choice by hand ends when the reader asks the rule again, by moving a weight or a bound. */
function chooseByRule() {
  state.manual = null;
  draw();
}

function showWeight(j) {
  const total = state.importance.reduce((sum, weight) => sum + weight, 0);
  const share = total ? Math.round((100 * state.importance[j]) / total) : 0;
  byId(`weight-${j}-out`).textContent = `${share} %`;
  byId(`weight-${j}`).setAttribute("aria-valuetext", `${share} percent of all weight`);
}

function wireWeight(j) {
  byId(`weight-${j}`).addEventListener("input", (event) => {
    state.importance[j] = Number(event.target.value);
    CRITERIA.forEach((_, k) => showWeight(k));
    chooseByRule();
  });
}

/** A round step of about a hundredth of the range. */
function stepOf(range) {
  return 10 ** (Math.floor(Math.log10(range || 1)) - 2);
}

/** The largest bound that the slider offers: from there on every model is within it. */
function largestBound(j) {
  const costs = COSTS.flatMap((row) => (row ? [row[j]] : []));
  const from = j === 0 ? COSTS[BASELINE][0] : 0;
  return Math.max(0, ...costs.map((cost) => cost - from));
}

function showBound(j) {
  const [field, range] = [byId(`bound-${j}`), byId(`bound-${j}-range`)];
  const bound = state.bounds[j];
  range.value = bound === null ? range.max : String(bound);
  range.setAttribute("aria-valuetext", bound === null ? "no bound" : `at most ${bound}`);
  return field;
}

function wireBound(j) {
  const [field, range] = [byId(`bound-${j}`), byId(`bound-${j}-range`)];
  if (field === null) return;
  const largest = largestBound(j);
  const step = stepOf(largest);
  const digits = Math.max(0, -Math.round(Math.log10(step)));
  range.step = String(step);
  range.max = String((Math.ceil(largest / step) * step).toFixed(digits));
  range.addEventListener("input", () => {
    const open = Number(range.value) >= Number(range.max);
    state.bounds[j] = open ? null : Number(Number(range.value).toFixed(digits));
    field.value = open ? "" : range.value;
    flag(`bound-${j}`, "");
    showBound(j);
    chooseByRule();
  });
  field.addEventListener("input", () => {
    const bad = field.validity.badInput || Number(field.value) < 0;
    flag(`bound-${j}`, bad ? "Enter a number of at least 0, or nothing: no bound is set." : "");
    state.bounds[j] = bad || field.value === "" ? null : Number(field.value);
    showBound(j);
    chooseByRule();
  });
  showBound(j);
}

function fillSelect(id, options, key) {
  const select = byId(id);
  select.replaceChildren(...options.map(([value, text]) => element("option", { value: String(value) }, text)));
  select.closest("label").hidden = options.length < 2;
  select.value = String(state[key]);
  select.addEventListener("change", () => {
    state[key] = typeof state[key] === "number" ? Number(select.value) : select.value;
    draw();
  });
}

function wireSelects() {
  const axes = CRITERIA.map((criterion, j) => [j, criterion.name]);
  fillSelect("axis-x", axes, "x");
  fillSelect("axis-y", axes, "y");
  for (const id of ["axis-x", "axis-y"]) byId(id).closest("label").hidden = CRITERIA.length < 3;
  fillSelect("stage", Object.entries({ test: STAGES.test, val: STAGES.val }), "stage");
  fillSelect("attribute", PAGE.attributes.map((name) => [name, name]), "attribute");
  fillSelect("metric", PAGE.rates.map((rate) => [rate, PAGE.names[rate]]), "metric");
}

function reset() {
  state.importance.fill(50);
  state.bounds.fill(null);
  CRITERIA.forEach((_, j) => {
    byId(`weight-${j}`).value = "50";
    showWeight(j);
    if (byId(`bound-${j}`)) {
      byId(`bound-${j}`).value = "";
      flag(`bound-${j}`, "");
      showBound(j);
    }
  });
  chooseByRule();
}

async function copyLoad() {
  const text = byId("load").textContent;
  try {
    await navigator.clipboard.writeText(text);
    byId("copied").textContent = "Copied.";
  } catch {
    getSelection().selectAllChildren(byId("load"));
    byId("copied").textContent = "Selected: press Ctrl+C, or ⌘C, to copy.";
  }
}

/** Plots keep their width in pixels, so paper gets one that fits it. */
function fitToPaper(printing) {
  for (const id of ["plot", "groups-plot"]) {
    if (byId(id).data) Plotly.relayout(id, printing ? { width: 660 } : { width: null, autosize: true });
  }
}

CRITERIA.forEach((_, j) => {
  wireWeight(j);
  showWeight(j);
  wireBound(j);
});
wireSelects();
summary();
modelsTable();
byId("reset").addEventListener("click", reset);
byId("by-rule").addEventListener("click", chooseByRule);
byId("copy").addEventListener("click", copyLoad);
byId("decision-form").addEventListener("submit", saveDecision);
matchMedia("print").addEventListener("change", (event) => fitToPaper(event.matches));
draw();
