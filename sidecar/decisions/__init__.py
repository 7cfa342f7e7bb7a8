"""What was decided, for whoever looks at it from a terminal: the latest decisions, and what adopting the router would change."""
