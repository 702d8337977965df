"""Callbacks: ramp λ, monitor fairness, choose checkpoints, resume exactly."""

from fairlightning.callbacks.ramp import LambdaRamp
from fairlightning.callbacks.rng import ResumeRNG
from fairlightning.callbacks.settled import SettledCheckpoint, SettledEarlyStopping, settled

__all__ = ["LambdaRamp", "ResumeRNG", "SettledCheckpoint", "SettledEarlyStopping", "settled"]
