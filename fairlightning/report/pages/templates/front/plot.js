"use strict";
/* The scatter of the front. Colours are those of Okabe and Ito; every kind has a shape of its own. */

const INK = "#1b2430";
const KINDS = {
  front: { name: "Not dominated on validation", symbol: "circle", color: "#0072B2", size: 10 },
  dominated: { name: "Dominated on validation", symbol: "square", color: "#ffffff", edge: "#5a687a", size: 8 },
  baseline: { name: "Baseline", symbol: "diamond", color: INK, size: 13 },
};
const CHOSEN = "#D55E00";
const LIMIT = "#007A5A";
const CONFIG = {
  responsive: true,
  displaylogo: false,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
  toImageButtonOptions: { filename: "front", scale: 2 },
};

/** Text for Plotly, which reads some markup in labels. */
function plain(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function axis(title, more = {}) {
  return {
    title: { text: title, standoff: 12, font: { size: 13 } },
    gridcolor: "#e4e8ee",
    linecolor: "#8a94a3",
    zeroline: false,
    ticks: "outside",
    tickcolor: "#8a94a3",
    automargin: true,
    ...more,
  };
}

function layout(more) {
  return {
    font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", size: 12.5, color: INK },
    paper_bgcolor: "#ffffff",
    plot_bgcolor: "#ffffff",
    margin: { l: 60, r: 18, t: 10, b: 50 },
    hovermode: "closest",
    hoverlabel: { bgcolor: "#ffffff", bordercolor: "#8a94a3", align: "left", font: { color: INK } },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 12 } },
    dragmode: "zoom",
    ...more,
  };
}

/** Error bars of a criterion over some models; none where no record has an interval. */
function errorBars(rows, stage, criterion, color) {
  const records = rows.map((i) => figure(i, stage, criterion));
  const arm = (r, end, sign) => (r[end] === null ? 0 : Math.max(0, sign * (r[end] - r.value)));
  return {
    type: "data",
    symmetric: false,
    array: records.map((r) => arm(r, "high", 1)),
    arrayminus: records.map((r) => arm(r, "low", -1)),
    color,
    thickness: 1.2,
    width: 0,
  };
}

function hoverText(index) {
  const lines = [`<b>${plain(POINTS[index].id)}</b>`, plain(settingsOf(index))];
  for (const criterion of CRITERIA) {
    const cells = ["val", "test"].map((stage) => {
      const record = figure(index, stage, criterion);
      return `${STAGES[stage]} ${number(record?.value)} ${interval(record)}`;
    });
    lines.push(`${plain(criterion.name)}: ${cells.join("; ")}`);
  }
  return lines.filter(Boolean).join("<br>");
}

function pointTrace(rows, kind) {
  const [x, y] = [CRITERIA[state.x], CRITERIA[state.y]];
  const { name, symbol, color, size } = kind;
  return {
    type: "scatter",
    mode: "markers",
    name,
    x: rows.map((i) => figure(i, state.stage, x).value),
    y: rows.map((i) => figure(i, state.stage, y).value),
    error_x: errorBars(rows, state.stage, x, kind.bars ?? "rgba(90, 104, 122, 0.4)"),
    error_y: errorBars(rows, state.stage, y, kind.bars ?? "rgba(90, 104, 122, 0.4)"),
    customdata: rows,
    text: rows.map(hoverText),
    hovertemplate: "%{text}<extra></extra>",
    marker: { symbol, color, size, line: { color: kind.edge ?? "#ffffff", width: 1.5 } },
  };
}

/** The models that no other beats in the two criteria that are shown, on validation. */
function joined(rows) {
  const shown = COSTS.map((row) => row && [row[state.x], row[state.y]]);
  const kept = nondominated(shown);
  const value = (i) => figure(i, state.stage, CRITERIA[state.x]).value;
  return rows.filter((i) => kept[i]).sort((a, b) => value(a) - value(b));
}

function lineTrace(rows) {
  return {
    ...pointTrace(rows, KINDS.front),
    mode: "lines",
    error_x: {},
    error_y: {},
    hoverinfo: "skip",
    hovertemplate: null,
    showlegend: false,
    line: { color: KINDS.front.color, width: 1.5 },
  };
}

/** The limit line, if it is about the axes and the stage that are shown. */
function limitTraces() {
  const limit = FRONT.limit;
  const about = (j) => CRITERIA[j].metric === limit.metric && CRITERIA[j].attribute === limit.attribute;
  const shown = [state.x, state.y].find((j) => j !== 0);
  if (limit === null || limit.stage !== state.stage || ![state.x, state.y].includes(0)) return [];
  if (shown === undefined || !about(shown)) return [];
  const points = [...limit.points].sort((a, b) => a[1] - b[1]);
  const column = (j) => points.map((point) => point[j === 0 ? 0 : 1]);
  return [
    {
      type: "scatter",
      mode: "lines",
      name: "Limit, were the group known",
      x: column(state.x),
      y: column(state.y),
      line: { color: LIMIT, width: 2, dash: "dash" },
      hovertemplate: `Limit: ${plain(CRITERIA[state.y].name)} %{y:.3f} at ${plain(CRITERIA[state.x].name)} %{x:.3f}<extra></extra>`,
    },
  ];
}

/** Dotted lines at the bounds of the shown criteria. */
function boundShapes() {
  const bounds = allowedCosts();
  const line = { color: CHOSEN, width: 1.5, dash: "dot" };
  const at = (j) => (CRITERIA[j].higher ? 1 - bounds[j] : bounds[j]);
  const shapes = [];
  if (bounds[state.x] !== null) {
    shapes.push({ type: "line", yref: "paper", y0: 0, y1: 1, x0: at(state.x), x1: at(state.x), line });
  }
  if (bounds[state.y] !== null) {
    shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: at(state.y), y1: at(state.y), line });
  }
  return shapes;
}

function axisTitle(criterion) {
  const name = criterion.name[0].toUpperCase() + criterion.name.slice(1);
  const narrow = byId("plot").clientWidth < 560;
  return `${plain(name)}${narrow ? "<br>" : " "}(${criterion.higher ? "higher" : "lower"} is better)`;
}

function drawPlot(choice) {
  const shown = [CRITERIA[state.x], CRITERIA[state.y]];
  const value = (i, c) => figure(i, state.stage, c)?.value ?? null;
  const rows = POINTS.map((_, i) => i).filter((i) => shown.every((c) => value(i, c) !== null));
  const others = rows.filter((i) => i !== BASELINE);
  const chosen = { name: "Chosen", symbol: "circle-open", color: CHOSEN, size: 21, bars: CHOSEN };
  const ring = pointTrace(rows.filter((i) => i === choice.index), chosen);
  ring.marker.line = { color: CHOSEN, width: 3 };
  const traces = [
    ...limitTraces(),
    lineTrace(joined(rows)),
    pointTrace(others.filter((i) => !ON_FRONT[i]), KINDS.dominated),
    pointTrace(others.filter((i) => ON_FRONT[i]), KINDS.front),
    pointTrace(rows.filter((i) => i === BASELINE), KINDS.baseline),
    ring,
  ].filter((trace) => trace.x.length);
  const look = layout({
    xaxis: axis(axisTitle(shown[0])),
    yaxis: axis(axisTitle(shown[1])),
    shapes: boundShapes(),
    uirevision: `${state.x} ${state.y} ${state.stage}`,
  });
  const plot = byId("plot");
  const first = plot.data === undefined;
  Plotly.react(plot, traces, look, CONFIG);
  if (first) plot.on("plotly_click", clickPoint);
  describePlot(rows, shown);
}

function clickPoint({ points }) {
  const index = points[0].customdata;
  if (index !== undefined) chooseByHand(index);
}

function describePlot(rows, [x, y]) {
  const missing = POINTS.length - rows.length;
  const stage = STAGES[state.stage];
  byId("plot").setAttribute(
    "aria-label",
    `Scatter of ${y.name} against ${x.name} on ${stage} for ${rows.length} models; the list of all models holds the same figures.`,
  );
  const bars = rows.some((i) => interval(figure(i, state.stage, y)) || interval(figure(i, state.stage, x)));
  byId("plot-note").textContent = [
    `Figures of ${stage}${bars ? "; bars are intervals of each figure" : ""}. The line joins the models that are not dominated on validation in the two criteria shown.`,
    state.bounds.some((bound) => bound !== null) ? "Dotted: the bounds, which hold on validation." : "",
    missing ? `${missing} models have no estimate here and are in the list alone.` : "",
  ].filter(Boolean).join(" ");
}
