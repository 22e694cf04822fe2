"""Measurements, each beside its own raw limit in the same run. Never a timed test."""
