"""Understanding a table before training: proxies, base rates, causes, and where to intervene."""

from fairlightning.audit.declaration import Declaration, Judgement, Query, read_declaration
from fairlightning.audit.diagram import causal_figure, write_diagram
from fairlightning.audit.document import DIAGRAM, Options, audit_table
from fairlightning.audit.page import markdown

__all__ = [
    "DIAGRAM",
    "Declaration",
    "Judgement",
    "Options",
    "Query",
    "audit_table",
    "causal_figure",
    "markdown",
    "read_declaration",
    "write_diagram",
]
