"""How good is what was generated."""
