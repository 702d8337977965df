"use strict";
/*
 * The rule of choice. Costs are rows of numbers, all to be minimised; a row is null where a figure
 * of the model could not be estimated, and is then never chosen. Among the models within all bounds
 * the smallest weighted sum wins: `best_weighted` of fairlightning.functional.front_choice, with
 * which the tests compare this file.
 */

/** Whether `a` is nowhere larger than `b` and somewhere smaller. */
function dominates(a, b) {
  return a.every((cost, j) => cost <= b[j]) && a.some((cost, j) => cost < b[j]);
}

/** For each row, whether no other row dominates it; false for null. */
function nondominated(costs) {
  return costs.map((row) => row !== null && !costs.some((other) => other && dominates(other, row)));
}

/** Largest minus smallest cost of each criterion over the front; 1 where they do not differ. */
function spreads(costs) {
  const kept = nondominated(costs);
  const front = costs.filter((_, i) => kept[i]);
  if (!front.length) return [];
  return front[0].map((_, j) => {
    const column = front.map((row) => row[j]);
    return Math.max(...column) - Math.min(...column) || 1;
  });
}

function weightedSum(row, weights) {
  return row.reduce((sum, cost, j) => sum + cost * weights[j], 0);
}

function withinBounds(row, bounds) {
  return row.every((cost, j) => bounds[j] === null || cost <= bounds[j]);
}

/** Largest excess over a bound, as a share of the criterion's spread over the front. */
function excess(row, bounds, spread) {
  return Math.max(...row.map((cost, j) => (bounds[j] === null ? 0 : (cost - bounds[j]) / spread[j])));
}

/** First of `rows` with the smallest `key`; ties go to the smaller `second`, then to the first. */
function firstSmallest(rows, key, second = () => 0) {
  let best = null;
  for (const row of rows) {
    const candidate = [key(row), second(row), row];
    const smaller = best && (candidate[0] - best[0] || candidate[1] - best[1]);
    if (best === null || smaller < 0) best = candidate;
  }
  return best && best[2];
}

/**
 * Choose a model.
 *
 * @param {(number[]|null)[]} costs one row per model.
 * @param {number[]} importance at least 0 for each criterion, for costs scaled by `spreads`.
 * @param {(number|null)[]} bounds largest allowed cost of each criterion; null for none.
 * @returns {{index: number|null, within: boolean}} the chosen model if `within`, else the nearest
 *   to the bounds; no model if all weights are 0 or no model has all figures.
 */
function chooseModel(costs, importance, bounds) {
  const known = costs.flatMap((row, i) => (row ? [i] : []));
  if (!known.length || importance.every((weight) => weight === 0)) return { index: null, within: true };
  const spread = spreads(costs);
  const weights = importance.map((weight, j) => weight / spread[j]);
  const sum = (i) => weightedSum(costs[i], weights);
  const allowed = known.filter((i) => withinBounds(costs[i], bounds));
  if (!allowed.length) {
    return { index: firstSmallest(known, (i) => excess(costs[i], bounds, spread), sum), within: false };
  }
  const front = nondominated(allowed.map((i) => costs[i]));
  return { index: firstSmallest(allowed.filter((_, k) => front[k]), sum), within: true };
}
