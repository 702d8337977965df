"""`fairlightning verify`: from data to a verdict that can be audited."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from shutil import copyfile

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from rich.console import Console

from fairlightning.advisor import Situation, family_of, recommend
from fairlightning.cli.build import as_table, check_binary
from fairlightning.cli.facts import data_facts
from fairlightning.cli.front_results import shown_path
from fairlightning.cli.launcher import LAUNCHER, launched
from fairlightning.cli.progress import PlanProgress, fixed_console, run_all, work
from fairlightning.cli.run import launch, seeded_data
from fairlightning.cli.verify_facts import evidence_of, reproducibility_of, write_environment
from fairlightning.cli.verify_jobs import (
    Job,
    around,
    audit_of,
    run_job,
    sensitivity,
    shift_settings,
    subject_of,
    training,
)
from fairlightning.cli.verify_table import criteria_table
from fairlightning.data import TabularDataModule
from fairlightning.exceptions import ArgumentError
from fairlightning.verification import Verification, write_verification
from fairlightning.verification.checklist import Statement, read_statements
from fairlightning.verification.material import Bounds
from fairlightning.verification.protocol import Plan, Subject, repeated, verified
from fairlightning.verification.reporting import write_report
from fairlightning.verification.reporting.inputs import ADVICE

RESULT = "verification.json"
"""File that a finished verification has."""

STATEMENTS = "statements.yaml"
"""Copy of the signed statements in the folder of a verification."""


def verify(config: DictConfig) -> Verification:
    """Carry out the whole plan, or what is left of it, and write `verification.json`.

    Args:
        config: As composed from `conf/verify.yaml`.

    Returns:
        What the file holds.
    """
    console = fixed_console()
    plan = Plan(Path(config.run_dir).resolve(), seeds_of(config))
    bounds = Bounds(**config.success)
    statements = _statements(config)
    shift_settings(config)
    with open_dict(config):
        config.run_dir = str(plan.folder)
    data = as_table(seeded_data(config))
    check_binary(data, "a verification")
    subject = subject_of(config, data)
    plan.folder.mkdir(parents=True, exist_ok=True)
    _write_advice(config, data, plan.folder)
    write_environment(plan.folder, data)
    OmegaConf.save(config, plan.folder / "config.yaml")
    console.print(data.report(), markup=False, highlight=False)
    _carry_out(console, _jobs(config, plan, subject), config.jobs, plan.folder / "launcher")
    found = verified(
        plan,
        subject,
        bounds,
        sensitivity(plan.folder, float(config.method.strength)),
        reproducibility_of(plan.folder, repeated(plan), data),
        evidence_of(config, plan, subject),
        statements,
        _kept_statements(config, plan.folder),
    )
    write_verification(plan.folder / RESULT, found)
    console.print(criteria_table(found))
    for sentence in found.summary:
        console.print(sentence, markup=False, highlight=False)
    report = write_report(plan.folder)[0]
    path = shown_path(plan.folder)
    console.print(f"Results  {path}: {RESULT}, audit, runs, around, robustness", markup=False)
    console.print(f"Read     open {shown_path(report)} in a browser", markup=False, soft_wrap=True)
    return found


def _write_advice(config: DictConfig, data: TabularDataModule, folder: Path) -> None:
    """Write what the advisor says of this model, criterion and data, for the report."""
    situation = Situation(
        model=family_of(config.model._target_), definition=config.criterion, facts=data_facts(data)
    )
    text = json.dumps(recommend(situation).to_dict(), indent=2, allow_nan=False)
    (folder / ADVICE).write_text(text + "\n", encoding="utf-8")


def seeds_of(config: DictConfig) -> tuple[int, ...]:
    """Seeds of the trainings.

    Raises:
        ArgumentError: If there is none, or one twice.
    """
    seeds = config.seeds
    found = (
        [int(seed) for seed in seeds]
        if isinstance(seeds, ListConfig)
        else list(range(config.seed, config.seed + int(seeds)))
    )
    if not found or len(set(found)) < len(found) or min(found) < 0:
        raise ArgumentError.of(
            "seeds",
            found=seeds,
            expected="their number, at least 1, or a list of different ones",
            mend="pass seeds=5",
        )
    return tuple(found)


def _jobs(config: DictConfig, plan: Plan, subject: Subject) -> tuple[list[Job], list[Job]]:
    """Trainings with the front, and what needs their models."""
    names = {"repeat": "the same seed again"}
    trainings = [
        Job(
            f"seed {run.seed}: {names.get(run.role, run.role)}",
            "train",
            plan.folder,
            training(config, plan.folder, run.seed, run.role),
            run.seed,
            1.0,
        )
        for run in plan.runs
    ]
    seed = plan.seeds[0]
    of_front = around(config, plan.folder, seed, subject.attributes)
    # The longest first: it does not keep the others waiting at the end.
    front_job = Job("front around λ", "front", plan.folder, of_front, seed, 2.0)
    audits = []
    if config.audit is not None:
        of_data = audit_of(config, plan.folder)
        audits = [Job("audit of the data", "audit", plan.folder, of_data, seed, 1.0)]
    shifted = [
        Job(f"seed {seed}: shifted data", "shift", plan.folder, config, seed, 0.5)
        for seed in plan.seeds
    ]
    return [front_job, *audits, *trainings], shifted


def _carry_out(
    console: Console, stages: tuple[list[Job], list[Job]], at_once: int | str, folder: Path
) -> None:
    if at_once != LAUNCHER and (not isinstance(at_once, int) or at_once < 1):
        raise ArgumentError.of(
            "jobs", found=at_once, expected=f"at least 1, or {LAUNCHER}", mend="pass jobs=2"
        )
    every = [job for stage in stages for job in stage]
    by_name = {job.name: job.work for job in every}
    finished = [job for job in every if job.done]
    progress = PlanProgress(console, work(every, _work), work(finished, _work))
    if finished:
        line = f"{len(finished)} of {len(every)} parts of the plan are finished already"
        console.print(line, markup=False, highlight=False)
    with progress.shown():
        for stage in stages:
            # Those that are done are looked at too: a run of another configuration is refused.
            for job in finished:
                if job in stage:
                    run_job(job)
            left = [job for job in stage if job not in finished]
            names = (
                run_all(run_job, left, at_once)
                if isinstance(at_once, int)
                else launched(run_job, left, folder)
            )
            for name in names:
                progress.advance(by_name[name], name)


def _work(job: Job) -> float:
    return job.work


def _statements(config: DictConfig) -> dict[int, Statement]:
    return {} if config.statements is None else read_statements(config.statements)


def _kept_statements(config: DictConfig, folder: Path) -> str | None:
    """Copy the signed statements to the verification, whose report links to them."""
    if config.statements is None:
        return None
    source, kept = Path(config.statements), folder / STATEMENTS
    if not (kept.is_file() and source.samefile(kept)):
        copyfile(source, kept)
    return STATEMENTS


def main(arguments: Sequence[str]) -> None:
    """Run Hydra on the arguments that follow `fairlightning verify`."""
    launch("verify", verify, arguments)
