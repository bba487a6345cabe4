"""later."""
