"""The ``minires`` command: its sub-commands, the options that they share, and helpers for printing."""
