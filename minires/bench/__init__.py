"""Measure the speed of minires: ``minires.profile()``, and the measurements of ``minires bench``."""
