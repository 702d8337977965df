"""What the pages share: their templates, and how these are filled in."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **content: object) -> str:
    """Fill in a template; all text is escaped, and a name that it lacks is an error.

    Args:
        template: Name of a file in `TEMPLATES`.
        **content: What the template speaks of.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**content)


def template_text(name: str) -> str:
    """Text of a style sheet or script beside the templates."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def as_is(text: str) -> Markup:
    """Mark a text of ours that is put into a page without escaping, such as a style sheet."""
    return Markup(text)
