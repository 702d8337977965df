"use strict";
/* What the page knows: the embedded data, figures by name, costs, and how numbers are written. */

const PAGE = JSON.parse(document.getElementById("data").textContent);
const FRONT = PAGE.front;
const CRITERIA = PAGE.criteria; // {metric, attribute, name, short, role, higher}
const POINTS = FRONT.points;
const BASELINE = FRONT.baseline === null ? null : POINTS.findIndex((p) => p.id === FRONT.baseline);
const STAGES = { val: "validation", test: "test" };
const NONE = "–";

const recordKey = (stage, metric, attribute, group) => JSON.stringify([stage, metric, attribute, group]);
const RECORDS = POINTS.map(
  (point) => new Map(point.records.map((r) => [recordKey(r.stage, r.metric, r.attribute, r.group), r])),
);

/** The record of a model, or undefined if there is none. */
function recordOf(index, stage, metric, attribute = null, group = null) {
  return RECORDS[index].get(recordKey(stage, metric, attribute, group));
}

/** The record of a criterion, or undefined. */
function figure(index, stage, criterion) {
  return recordOf(index, stage, criterion.metric, criterion.attribute);
}

/** What is minimised: 1 − value where more is better. */
function costOf(value, criterion) {
  return criterion.higher ? 1 - value : value;
}

/** Costs of every model; null for one of which a figure could not be estimated. */
function costsOf(stage) {
  return POINTS.map((_, i) => {
    const values = CRITERIA.map((c) => figure(i, stage, c)?.value ?? null);
    return values.includes(null) ? null : values.map((value, j) => costOf(value, CRITERIA[j]));
  });
}

const COSTS = costsOf("val"); // models are chosen by these alone
const SPREADS = spreads(COSTS);
const ON_FRONT = nondominated(COSTS);

function number(value) {
  if (value === null || value === undefined) return NONE;
  if (Math.abs(value) >= 10) return value.toLocaleString("en", { minimumSignificantDigits: 4, maximumSignificantDigits: 4 });
  return value.toFixed(3).replace("-", "−");
}

function signed(value) {
  const text = number(Math.abs(value));
  return Number(text) === 0 ? text : (value < 0 ? "−" : "+") + text;
}

function count(rows) {
  return rows.toLocaleString("en");
}

/** The interval of a record in brackets; empty without one. */
function interval(record) {
  if (!record || (record.low === null && record.high === null)) return "";
  const end = (limit) => (limit === null ? "…" : number(limit));
  return `[${end(record.low)}, ${end(record.high)}]`;
}

/** Whether a figure is over so few rows that chance alone moves it widely. */
function isSmall(record) {
  return Boolean(record) && record.value !== null && record.support > 0 && record.support < PAGE.small;
}

/** Settings of a model as text, such as "strength = 0.3". */
function settingsOf(index) {
  const write = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  const parts = Object.entries(POINTS[index].settings).map(([name, value]) => `${name} = ${write(value)}`);
  return parts.join(", ");
}

/** Names such as "Female & Black" under "sex & race" for the group "sex=Female & race=Black". */
function shortGroup(group, attribute) {
  const names = attribute.split(" & ");
  const parts = group.split(" & ");
  const fits = parts.length === names.length && parts.every((part, i) => part.startsWith(`${names[i]}=`));
  return fits ? parts.map((part, i) => part.slice(names[i].length + 1)).join(" & ") : group;
}

/**
 * Make an element. Text always becomes a text node, so names from data cannot become markup.
 *
 * @param {string} tag
 * @param {Object<string, string|boolean|Function>} attributes `on…` are event listeners.
 * @param {...(Node|string|null)} children
 */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const byId = (id) => document.getElementById(id);
