"""Which technique for which model: compatibility matrix, decision tree and trade-offs."""

from fairlightning.advisor.matrix import (
    FAMILIES,
    LEVELS,
    RATINGS,
    TECHNIQUES,
    Rating,
    family_of,
    poor_matches,
    rating,
)
from fairlightning.advisor.options import Option
from fairlightning.advisor.recommend import Advice, Advised, leaves, recommend, trade_offs
from fairlightning.advisor.situation import QUESTIONS, Facts, Question, Situation
from fairlightning.advisor.tree import DEFINITIONS, TREE, candidates, commands
from fairlightning.advisor.ways import OPTIONS

__all__ = [
    "DEFINITIONS",
    "FAMILIES",
    "LEVELS",
    "OPTIONS",
    "QUESTIONS",
    "RATINGS",
    "TECHNIQUES",
    "TREE",
    "Advice",
    "Advised",
    "Facts",
    "Option",
    "Question",
    "Rating",
    "Situation",
    "candidates",
    "commands",
    "family_of",
    "leaves",
    "poor_matches",
    "rating",
    "recommend",
    "trade_offs",
]
