"""The assignments: a package for each."""
