"""The command ``minires``: files of sub-commands, the options that they share, and how they print."""
