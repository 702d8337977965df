"""`report.html`: a document as one page without scripts, which opens offline and prints well."""

from __future__ import annotations

import base64
from urllib.parse import quote

from markupsafe import Markup

from fairlightning.report.document import (
    Document,
    Number,
    Picture,
    Status,
    Table,
    interval_text,
    number_text,
)
from fairlightning.report.markdown import MARKS, more_sources, shown_sources
from fairlightning.report.pages.rendering import as_is, render, template_text


def report_page(document: Document) -> str:
    """Make the page of a document.

    Pictures are inside it, as vectors; links to the files of the run are relative, so that the
    page belongs into their folder but is readable anywhere.

    Args:
        document: What the report says.

    Returns:
        The HTML; it has no script and asks the network for nothing.
    """
    return render(
        "report.html.jinja",
        document=document,
        main=[section for section in document.sections if not section.appendix],
        appendices=[section for section in document.sections if section.appendix],
        style=as_is(template_text("report/report.css")),
        marks=MARKS,
        kind=lambda item: type(item).__name__.lower(),
        number=number_text,
        interval=interval_text,
        numeric=_numeric,
        image=_image,
        shown=shown_sources,
        more=more_sources,
        code=_code,
        link=quote,
    )


def _numeric(table: Table) -> list[bool]:
    """Which columns hold figures, and so are aligned to the right."""
    return [
        bool(table.rows)
        and any(isinstance(row[i], Number) for row in table.rows)
        and not any(isinstance(row[i], Status) for row in table.rows)
        for i in range(len(table.columns))
    ]


def _code(text: str) -> Markup:
    """Escape a text; what stands between backticks is code."""
    parts = text.split("`")
    tags = ("{}", "<code>{}</code>")
    return Markup("").join(Markup(tags[i % 2]).format(part) for i, part in enumerate(parts))


def _image(picture: Picture) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(picture.svg.encode()).decode()
