"""Kept beside pyproject.toml, which holds everything, for tools that still call ``python setup.py``."""

from setuptools import setup

setup()
