"""Callbacks: ramp λ, move multipliers, monitor fairness, choose checkpoints, resume exactly."""

from fairlightning.callbacks.adversary import AdversaryDiagnostics
from fairlightning.callbacks.feasible import FeasibleCheckpoint
from fairlightning.callbacks.monitor import FairnessMonitor
from fairlightning.callbacks.multipliers import MultiplierUpdate
from fairlightning.callbacks.ramp import LambdaRamp
from fairlightning.callbacks.rng import ResumeRNG
from fairlightning.callbacks.sampling import AdaptiveSampling
from fairlightning.callbacks.settled import SettledCheckpoint, SettledEarlyStopping, settled

__all__ = [
    "AdaptiveSampling",
    "AdversaryDiagnostics",
    "FairnessMonitor",
    "FeasibleCheckpoint",
    "LambdaRamp",
    "MultiplierUpdate",
    "ResumeRNG",
    "SettledCheckpoint",
    "SettledEarlyStopping",
    "settled",
]
