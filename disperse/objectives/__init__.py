"""Objectives: from a model and a batch to one loss per sample, and the features on the way."""

from .interpolant import Draws, FlowMatching, ForwardPass, interpolate, noise_level, time_of_noise_level

__all__ = ["Draws", "FlowMatching", "ForwardPass", "interpolate", "noise_level", "time_of_noise_level"]
