"""How fast minires is, and compared with whom: ``minires.profile()``, and what ``minires bench`` runs."""
