"""Scorers: pure functions from stored predictions to metrics with intervals, registered by name and version.

Imports no other floor; never sees a model or a feature.
"""
