"""The command ``minires``: a file for each sub-command, one for what they print with, one for what can go wrong."""
