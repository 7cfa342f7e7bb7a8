"""The fleet: all candidates with their live state."""
