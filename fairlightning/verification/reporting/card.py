"""`model_card.md`: the model in the form that model hubs read and reviewers know.

The sections are those of Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019); the front
matter is that of the Hugging Face Hub.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import yaml

from fairlightning.metrics import readable
from fairlightning.report.document import Bullets, Number, Text, number_text
from fairlightning.report.markdown import escaped, table_text
from fairlightning.verification.reporting import closing, results, words
from fairlightning.verification.reporting.group_pictures import MAIN_GAPS
from fairlightning.verification.reporting.inputs import CARD, ReportInputs
from fairlightning.verification.reporting.model import model
from fairlightning.verification.results import ComparisonRow

STATED = {
    "license": "License",
    "developers": "Developed by",
    "contact": "Contact",
    "intended_use": "Primary intended uses",
    "intended_users": "Primary intended users",
    "out_of_scope": "Out-of-scope uses",
    "ethics": "Ethical considerations",
}
"""What no run can know, as `card.yaml` names it."""


def model_card(inputs: ReportInputs) -> str:
    """Write the card.

    Args:
        inputs: What the report is made from. What people have to say is in `card.yaml`, with the
            keys of `STATED`; what it lacks is named in the card.

    Returns:
        Markdown with YAML front matter.
    """
    return f"---\n{_front_matter(inputs)}---\n\n" + "\n\n".join(_sections(inputs)) + "\n"


def _front_matter(inputs: ReportInputs) -> str:
    found = inputs.found
    figures = [r for r in _common(inputs) if r.intervention.mean is not None]
    metrics = [
        {"type": row.metric, "name": _name(row), "value": row.intervention.mean} for row in figures
    ]
    content: dict[str, Any] = {
        "license": inputs.card.get("license", "unknown"),
        "library_name": "fairlightning",
        "pipeline_tag": "tabular-classification",
        "tags": ["fairness", "bias-mitigation", "pytorch-lightning", *found.method.split("+")],
        "datasets": [found.dataset],
        "metrics": list(dict.fromkeys(row.metric for row in figures)),
        "model-index": [
            {
                "name": found.title,
                "results": [
                    {
                        "task": {"type": "tabular-classification"},
                        "dataset": {"name": found.dataset, "type": found.dataset, "split": "test"},
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _common(inputs: ReportInputs) -> list[ComparisonRow]:
    """The figures that cards show: performance and the gaps of the criterion."""
    found = inputs.found
    gaps = {*MAIN_GAPS, f"{found.criterion}_difference"}
    return [
        row
        for row in found.comparison
        if row.metric in (results.MAIN_OVERALL if row.attribute is None else gaps)
        and (row.attribute is None or row.attribute in found.attributes)
    ]


def _name(row: ComparisonRow) -> str:
    return readable(row.metric) + (f" ({row.attribute})" if row.attribute else "")


def _sections(inputs: ReportInputs) -> list[str]:
    found = inputs.found
    status = words.overall_status(found)
    return [
        f"# Model card: {escaped(found.title)}",
        f"Fairness verification: **{escaped(status.word)}**. {escaped(words.headline(found))} "
        "The whole report is [report.html](report.html), as data [report.json](report.json).",
        "## Model details",
        _details(inputs),
        "## Intended use",
        _stated(inputs, "intended_use", "intended_users", "out_of_scope"),
        "## Factors",
        _factors(inputs),
        "## Metrics",
        _metrics(inputs),
        "## Evaluation data",
        _data(inputs, "test", "Rows that no model was trained or chosen on."),
        "## Training data",
        _data(inputs, "train", "Rows that the models were trained on."),
        "## Quantitative analyses",
        "Unitary results: baseline and intervention.",
        table_text(results.comparison_table(inputs, "card", _common(inputs), "Results")),
        "Intersectional results: every group and intersection.",
        table_text(results.groups_table(inputs)),
        "## Ethical considerations",
        _stated(inputs, "ethics"),
        _bullets(sentence for sentence in _sensitive(inputs)),
        "## Caveats and recommendations",
        _bullets(closing.limit_sentences(inputs)),
    ]


def _details(inputs: ReportInputs) -> str:
    found, made = inputs.found, inputs.found.reproducibility
    texts = [block for block in model(inputs).blocks if isinstance(block, Text)]
    items = [
        f"Model: {found.model}, trained with {found.method} by fairlightning "
        f"{version('fairlightning')}.",
        *(text.text for text in texts if text.kind == "plain"),
        f"Version: commit {made.commit or 'not known'}, seeds {', '.join(map(str, found.seeds))}.",
    ]
    stated = _stated(inputs, "developers", "contact", "license")
    return f"{_bullets(items)}\n{stated}"


def _factors(inputs: ReportInputs) -> str:
    found = inputs.found
    shown = dict.fromkeys(row.attribute for row in found.groups)
    groups = {row.group for row in found.groups}
    small = {row.group for row in found.groups if row.small}
    return _bullets(
        [
            f"Groups that were evaluated: {', '.join(shown)}.",
            f"Attributes whose gaps are to fall: {', '.join(found.attributes)}.",
            f"{len(small)} of {len(groups)} groups have too few rows for a verdict.",
        ]
    )


def _metrics(inputs: ReportInputs) -> str:
    found = inputs.found
    return _bullets(
        [
            f"Criterion: {found.criterion.replace('_', ' ')}; a gap is the largest difference "
            "between two groups.",
            f"Decision threshold: {found.threshold:g}.",
            "Figures are means ± standard deviation over seeds; intervals are of the paired "
            "change.",
        ]
    )


def _data(inputs: ReportInputs, split: str, what: str) -> str:
    data = (inputs.intervention.environment or {}).get("data")
    items = [what, f"Data set: {inputs.found.dataset}."]
    if data is None:
        items.append("Numbers of rows are not known: the run has no environment.json.")
    else:
        part = data["splits"][split]
        rate = number_text(Number(100 * part["base_rate"], digits=1, unit=" %"))
        items.append(f"{part['rows']:,} rows, {rate} positive ({data['positive']}).")
    return _bullets(items)


def _sensitive(inputs: ReportInputs) -> list[str]:
    blocks = model(inputs).blocks
    return [item for block in blocks if isinstance(block, Bullets) for item in block.items][:4]


def _stated(inputs: ReportInputs, *names: str) -> str:
    """What people have said, and what they have not."""
    lines = []
    for name in names:
        said = inputs.card.get(name)
        text = f"not stated; write `{name}` into {CARD} beside this file and run "
        text += "`fairlightning report`."
        lines.append(f"- **{STATED[name]}**: {escaped(said) if said else text}")
    return "\n".join(lines)


def _bullets(items: Iterable[str]) -> str:
    return "\n".join(f"- {escaped(item)}" for item in items)
