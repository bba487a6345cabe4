"""How fast minires is, and beside whom: what ``minires bench`` runs.

Nothing here is imported by the rest of minires.
"""
