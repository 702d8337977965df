"""Many λ in one pass: K models trained together, each with its own strength."""

from fairlightning.front.checkpoint import Kept, ParetoCheckpoint
from fairlightning.front.conditioned import ConditionedModule
from fairlightning.front.line import Conditioned, StrengthRange
from fairlightning.front.module import FrontModule
from fairlightning.front.monitor import FrontMonitor
from fairlightning.front.stacked import Stacked

__all__ = [
    "Conditioned",
    "ConditionedModule",
    "FrontModule",
    "FrontMonitor",
    "Kept",
    "ParetoCheckpoint",
    "Stacked",
    "StrengthRange",
]
