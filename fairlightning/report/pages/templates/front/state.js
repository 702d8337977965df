"use strict";
/* What the reader has set, and the choice that follows from it. */

const state = {
  importance: CRITERIA.map(() => 50),
  bounds: CRITERIA.map(() => null), // as entered: of the first criterion the loss against the baseline
  manual: null, // index of the model chosen by hand
  stage: "test", // what the plot shows
  x: CRITERIA.length > 1 ? 1 : 0,
  y: 0,
  metric: PAGE.rates[0] ?? null,
  attribute: PAGE.attributes[0] ?? null,
};

/** Largest allowed costs: the loss that is allowed counts from the baseline's cost on validation. */
function allowedCosts() {
  return state.bounds.map((bound, j) => {
    if (bound === null) return null;
    return j === 0 ? COSTS[BASELINE][0] + bound : bound;
  });
}

/**
 * The choice as it stands.
 *
 * @returns {{index: number|null, how: string, within: boolean}} `how` is "rule", "nearest" (no model
 *   meets the bounds), "manual" or "none".
 */
function currentChoice() {
  const bounds = allowedCosts();
  if (state.manual !== null) {
    const row = COSTS[state.manual];
    return { index: state.manual, how: "manual", within: row !== null && withinBounds(row, bounds) };
  }
  const { index, within } = chooseModel(COSTS, state.importance, bounds);
  const how = index === null ? "none" : within ? "rule" : "nearest";
  return { index, how, within };
}

/** How many models are within the bounds. */
function countWithin() {
  const bounds = allowedCosts();
  return COSTS.filter((row) => row !== null && withinBounds(row, bounds)).length;
}

/** By how much a model exceeds the bounds, in words; empty if by nothing. */
function excesses(index) {
  const bounds = allowedCosts();
  const over = CRITERIA.flatMap((criterion, j) => {
    const by = bounds[j] === null || COSTS[index] === null ? 0 : COSTS[index][j] - bounds[j];
    const name = j === 0 ? `loss of ${criterion.name}` : criterion.name;
    return by > 0 ? [`the bound on ${name} by ${number(by)}`] : [];
  });
  return over.join(" and ");
}
