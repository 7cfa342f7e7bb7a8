"""The engine: what decides which calls are answered, when, and in which order. Knows no transport."""
