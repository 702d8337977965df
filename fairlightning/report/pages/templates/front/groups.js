"use strict";
/* The rates of the groups under the chosen model, on test, with the baseline's beside them. */

/** Names of the groups of the shown attribute, in the order of the records. */
function groupsOf(index) {
  const names = POINTS[index].records
    .filter((r) => r.stage === "test" && r.group !== null && r.attribute === state.attribute)
    .filter((r) => PAGE.rates.includes(r.metric))
    .map((r) => r.group);
  return [...new Set(names)];
}

/** Points of one model in the plot of groups; small support is hollow. */
function groupTrace(index, groups, look) {
  const records = groups.map((group) => recordOf(index, "test", state.metric, state.attribute, group));
  const rows = groups.map((_, i) => i).filter((i) => (records[i]?.value ?? null) !== null);
  const shown = rows.map((i) => records[i]);
  const arm = (r, end, sign) => (r[end] === null ? 0 : Math.max(0, sign * (r[end] - r.value)));
  return {
    type: "scatter",
    mode: "markers",
    name: look.name,
    x: shown.map((r) => r.value),
    y: rows.map((i) => i + look.shift),
    error_x: {
      type: "data",
      symmetric: false,
      array: shown.map((r) => arm(r, "high", 1)),
      arrayminus: shown.map((r) => arm(r, "low", -1)),
      color: look.color,
      thickness: 1.6,
      width: 4,
    },
    text: shown.map((r, k) => `${plain(shortGroup(groups[rows[k]], state.attribute))}: ${number(r.value)} ${interval(r)}, ${count(r.support)} rows`),
    hovertemplate: `${look.name}<br>%{text}<extra></extra>`,
    marker: {
      size: 11,
      color: look.color,
      symbol: shown.map((r) => (isSmall(r) ? `${look.symbol}-open` : look.symbol)),
      line: { width: shown.map((r) => (isSmall(r) ? 2 : 0)), color: look.color },
    },
  };
}

function drawGroups(choice) {
  const groups = choice.index === null || state.attribute === null ? [] : groupsOf(choice.index);
  byId("groups-plot").hidden = !groups.length;
  const of = choice.index === null ? "" : `under ${POINTS[choice.index].id}, on test`;
  byId("groups-of").textContent = of;
  byId("groups-table").replaceChildren();
  byId("groups-note").textContent = groups.length ? "" : "There are no rates of groups to show.";
  if (!groups.length) return;
  const compared = BASELINE !== null && BASELINE !== choice.index;
  const traces = [groupTrace(choice.index, groups, { name: "Chosen", color: CHOSEN, symbol: "circle", shift: compared ? -0.13 : 0 })];
  if (compared) {
    traces.push(groupTrace(BASELINE, groups, { name: "Baseline", color: INK, symbol: "diamond", shift: 0.13 }));
  }
  const support = (group) => recordOf(choice.index, "test", state.metric, state.attribute, group)?.support ?? 0;
  const ticks = groups.map((group) => `${plain(shortGroup(group, state.attribute))}  (${count(support(group))})`);
  const height = 130 + 44 * groups.length;
  const look = layout({
    height,
    margin: { l: 20, r: 18, t: 6, b: 60 },
    xaxis: axis(plain(`${PAGE.names[state.metric]} (rows in brackets)`), { rangemode: "tozero" }),
    yaxis: axis("", { tickvals: groups.map((_, i) => i), ticktext: ticks, range: [groups.length - 0.5, -0.5], ticks: "" }),
  });
  byId("groups-plot").style.height = `${height}px`;
  Plotly.react("groups-plot", traces, look, { ...CONFIG, displayModeBar: false });
  byId("groups-plot").setAttribute(
    "aria-label",
    `${PAGE.names[state.metric]} of the groups of ${state.attribute}; the table below holds the same figures.`,
  );
  groupsTable(choice.index, groups);
}

function rateCell(record) {
  if (!record || record.value === null) {
    return element("td", { class: "n" }, NONE, element("small", {}, `${count(record?.support ?? 0)} rows`));
  }
  const small = isSmall(record);
  return element(
    "td",
    { class: small ? "n small" : "n" },
    `${number(record.value)}${small ? " †" : ""}`,
    element("small", {}, interval(record)),
    element("small", {}, `${count(record.support)} rows`),
  );
}

function groupsTable(index, groups) {
  const head = element("tr", {}, element("th", { scope: "col" }, state.attribute));
  for (const rate of PAGE.rates) head.append(element("th", { scope: "col", class: "n" }, PAGE.names[rate]));
  const body = element("tbody");
  for (const group of groups) {
    const row = element("tr", {}, element("th", { scope: "row" }, shortGroup(group, state.attribute)));
    for (const rate of PAGE.rates) row.append(rateCell(recordOf(index, "test", rate, state.attribute, group)));
    body.append(row);
  }
  byId("groups-table").replaceChildren(element("thead", {}, head), body);
  const unknown = POINTS[index].records.find(
    (r) => r.stage === "test" && r.metric === "support" && r.attribute === state.attribute,
  );
  const small = groups.some((g) => PAGE.rates.some((m) => isSmall(recordOf(index, "test", m, state.attribute, g))));
  byId("groups-note").textContent = [
    "Each rate is over the rows that it concerns: a true positive rate over those with a positive label.",
    small ? `† (hollow in the plot): fewer than ${PAGE.small} rows, where chance alone moves a rate widely.` : "",
    unknown?.support ? `${count(unknown.support)} rows of unknown ${state.attribute} are in no group.` : "",
  ].filter(Boolean).join(" ");
}
