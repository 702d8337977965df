"""Pure tensor functions: rates, gaps, gradient reversal, schedules."""

from fairlightning.functional import schedules
from fairlightning.functional.parity import (
    CRITERIA,
    GAPS,
    NUM_CONDITIONS,
    Criterion,
    Gap,
    criterion_cells,
    parity_gap,
    rate_variance,
)
from fairlightning.functional.rates import (
    Rates,
    group_rates,
    rates_from_sums,
    row_moments,
    segment_sums,
)
from fairlightning.functional.reversal import reverse_gradient
from fairlightning.functional.schedules import Schedule

__all__ = [
    "CRITERIA",
    "GAPS",
    "NUM_CONDITIONS",
    "Criterion",
    "Gap",
    "Rates",
    "Schedule",
    "criterion_cells",
    "group_rates",
    "parity_gap",
    "rate_variance",
    "rates_from_sums",
    "reverse_gradient",
    "row_moments",
    "schedules",
    "segment_sums",
]
