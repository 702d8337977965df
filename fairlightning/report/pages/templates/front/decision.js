"use strict";
/* The decision file. */

/** The records of the criteria of a model on one stage. */
function criterionRecords(index, stage) {
  return CRITERIA.map((criterion) => figure(index, stage, criterion) ?? null);
}

const about = ({ metric, attribute }) => ({ metric, attribute });

/** The bounds that are set: on the value itself, or on the loss against the baseline. */
function boundsRecord() {
  const allowed = allowedCosts();
  return CRITERIA.flatMap((criterion, j) => {
    if (state.bounds[j] === null) return [];
    const kind = j === 0 ? "loss_against_baseline" : criterion.higher ? "shortfall_from_1" : "value";
    return [{ ...about(criterion), kind, at_most: state.bounds[j], cost_at_most: allowed[j] }];
  });
}

/**
 * The decision as it is saved.
 *
 * `weight_per_unit` are the weights of the costs in their own units: with them, and the costs at
 * most `cost_at_most`, `best_weighted` of fairlightning chooses the same model again.
 */
function decisionOf(choice, reason, by, time) {
  const { id, settings, member, epoch, model, load } = POINTS[choice.index];
  return {
    version: 1,
    front: { title: FRONT.title, sha256: PAGE.sha256, models: POINTS.length, baseline: FRONT.baseline },
    chosen: { id, settings, member, epoch, model, load },
    how: choice.how,
    within_bounds: choice.within,
    dominated: COSTS[choice.index] === null ? null : !ON_FRONT[choice.index],
    weights: CRITERIA.map((criterion, j) => ({
      ...about(criterion),
      importance: state.importance[j],
      weight_per_unit: SPREADS.length ? state.importance[j] / SPREADS[j] : null,
    })),
    bounds: boundsRecord(),
    values: { val: criterionRecords(choice.index, "val"), test: criterionRecords(choice.index, "test") },
    reason,
    by,
    time,
    page: `fairlightning ${PAGE.version}`,
  };
}

/** Show or clear the error of a field; says whether there is one. */
function flag(id, message) {
  byId(`${id}-error`).textContent = message;
  if (message) byId(id).setAttribute("aria-invalid", "true");
  else byId(id).removeAttribute("aria-invalid");
  return Boolean(message);
}

function saveFile(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const link = element("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

function saveDecision(event) {
  event.preventDefault();
  byId("saved").textContent = "";
  const [reason, by] = ["reason", "by"].map((id) => byId(id).value.trim());
  const missing = [
    flag("reason", reason ? "" : "Say why: the report quotes it.") && "reason",
    flag("by", by ? "" : "Say who decides.") && "by",
    ...CRITERIA.map((_, j) => byId(`bound-${j}`)?.getAttribute("aria-invalid") === "true" && `bound-${j}`),
  ].filter(Boolean);
  if (missing.length) {
    byId(missing[0]).focus();
    return;
  }
  const choice = currentChoice();
  if (choice.index === null) {
    byId("saved").textContent = "Nothing is chosen yet.";
    return;
  }
  const decision = decisionOf(choice, reason, by, new Date().toISOString());
  saveFile("decision.json", JSON.stringify(decision, null, 2) + "\n");
  byId("saved").textContent = `decision.json saved: ${POINTS[choice.index].id}, ${HOW[choice.how]}.`;
}
