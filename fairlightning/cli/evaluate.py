"""`fairlightning evaluate`: the table and files of a run for anybody's predictions."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from fairlightning.cli.console import wide_console
from fairlightning.data.bins import quantile_bins
from fairlightning.exceptions import ArgumentError, check_choice
from fairlightning.functional.tasks import TASK_NAMES, Task
from fairlightning.report import metrics_table
from fairlightning.verification import (
    class_columns,
    evaluate,
    read_predictions,
    task_of_columns,
    write_metrics,
    write_predictions,
)
from fairlightning.verification.adjusting import adjust_scores

EPILOG = """\
examples:
  fairlightning evaluate predictions.csv --sensitive sex race --target label
  fairlightning evaluate runs/…/predictions.parquet --sensitive sex --adjust-thresholds 0.05

The file needs a column with the probability of the positive class, one with the label 0 or 1, and
one for each sensitive attribute; a column `split` gives each split its own figures. Of several
classes the columns score_<class> hold the probabilities and the target names the class; of a
regression the column prediction holds the predictions. Numbers such as an age are cut into four
bins of equal frequency with --continuous.
"""


def main(arguments: Sequence[str]) -> None:
    """Evaluate a file; write `metrics.json` and `predictions.parquet` as a run has them."""
    options = _parser().parse_args(arguments)
    source: Path = options.predictions
    frame = read_predictions(source)
    weight = options.weight or ("weight" if "weight" in frame else None)
    known = {options.score, options.target, weight, "row", "split", "member", "weight"}
    task = options.task or task_of_columns(frame, options.score)
    scored = [options.score]
    if Task.of(task).kind == "multiclass":
        scored = list(class_columns(frame, options.score).values())
    elif task == "regression" and options.score not in frame:
        scored = ["prediction"]
    known |= {*scored}
    sensitive = options.sensitive or [name for name in frame.columns if name not in known]
    for name in options.continuous:
        check_choice("continuous", name, sensitive)
        frame[name] = quantile_bins(frame[name])[1]
    console = wide_console()
    if weight:
        console.print(f"Rows are weighted by {weight}.", markup=False, highlight=False)
    if options.adjust_thresholds is not None:
        if Task.of(task).kind != "binary":
            raise ArgumentError.of(
                "--adjust-thresholds",
                found=f"predictions of task {task}",
                expected="scores of a binary target, which a threshold decides",
                mend="leave it out",
            )
        frame = _adjusted(console, frame, sensitive, weight, options)
    records = evaluate(
        frame,
        sensitive,
        score=options.score,
        target=options.target,
        weight=weight,
        threshold=options.threshold,
        task=task,
    )
    name = source.name.removesuffix(".gz").removesuffix(source.suffix).removesuffix(".csv")
    folder: Path = options.output or source.with_name(f"{name}_evaluation")
    folder.mkdir(parents=True, exist_ok=True)
    write_metrics(folder / "metrics.json", records)
    columns = {
        "row": frame.get("row", pd.RangeIndex(len(frame))),
        "split": frame.get("split", "test"),
        "member": frame.get("member", 0),
        **_scored(frame, task, options.score, scored),
        "target": frame[options.target],
        **{name: frame[name].astype("string") for name in sensitive},
        **({"weight": frame[weight]} if weight else {}),
    }
    write_predictions(folder / "predictions.parquet", pd.DataFrame(columns))
    for stage in dict.fromkeys(record.stage for record in records):
        console.print(metrics_table(records, stage))
    text = f"Results  {folder}: metrics.json, predictions.parquet"
    console.print(text, markup=False, highlight=False)


def _scored(
    frame: pd.DataFrame, task: str, score: str, columns: Sequence[str]
) -> dict[str, pd.Series]:
    """What was predicted, under the names that tell the task."""
    if Task.of(task).kind == "multiclass":
        return {f"score{name.removeprefix(score)}": frame[name] for name in columns}
    return {"prediction" if task == "regression" else "score": frame[columns[0]]}


def _adjusted(
    console: Console,
    frame: pd.DataFrame,
    sensitive: list[str],
    weight: str | None,
    options: argparse.Namespace,
) -> pd.DataFrame:
    """Move scores to adjusted thresholds, and say what these are."""
    frame, found, names = adjust_scores(
        frame,
        sensitive,
        epsilon=options.adjust_thresholds,
        shared=options.shared,
        score=options.score,
        target=options.target,
        weight=weight,
        threshold=options.threshold,
    )
    told = zip(names, found.threshold.tolist(), found.true_positive_rate.tolist(), strict=True)
    for name, threshold, rate in told:
        line = f"{name}: threshold {threshold:.3f}, true positive rate on validation {rate:.3f}"
        console.print(line, markup=False, highlight=False)
    gap = (
        f"Largest difference on validation {found.gap:.3f}. Scores are moved so that each threshold"
    )
    console.print(f"{gap} is {options.threshold:g}.", markup=False, highlight=False)
    return frame


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairlightning evaluate",
        description="Performance and fairness of the predictions in a CSV or Parquet file.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("predictions", type=Path, help="file with one row per prediction")
    add("--score", default="score", help="column of the probability in [0, 1] (default: score)")
    add("--target", default="target", help="column of the label 0 or 1 (default: target)")
    add(
        "--sensitive",
        nargs="+",
        metavar="COLUMN",
        help="columns of the sensitive attributes (default: all other columns)",
    )
    add(
        "--continuous",
        nargs="+",
        metavar="COLUMN",
        default=[],
        help="sensitive attributes that are numbers, to be cut into bins",
    )
    add("--task", choices=TASK_NAMES, help="what was predicted (default: what the columns tell)")
    add("--weight", help="column of row weights (default: weight, if there is one)")
    add("--threshold", type=float, default=0.5, help="score from which a row is selected")
    add(
        "--adjust-thresholds",
        type=float,
        metavar="EPSILON",
        help="choose thresholds for each group on validation rows, under which true positive rates "
        "differ by at most EPSILON",
    )
    add("--shared", action="store_true", help="with it: one threshold for all groups")
    add("--output", type=Path, help="folder for the results (default: FILE_evaluation beside it)")
    return parser
