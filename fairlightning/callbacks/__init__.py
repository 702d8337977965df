"""Callbacks: ramp λ, monitor fairness, choose checkpoints, resume exactly."""

from fairlightning.callbacks.monitor import FairnessMonitor
from fairlightning.callbacks.ramp import LambdaRamp
from fairlightning.callbacks.rng import ResumeRNG
from fairlightning.callbacks.settled import SettledCheckpoint, SettledEarlyStopping, settled

__all__ = [
    "FairnessMonitor",
    "LambdaRamp",
    "ResumeRNG",
    "SettledCheckpoint",
    "SettledEarlyStopping",
    "settled",
]
