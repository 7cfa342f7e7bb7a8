"""From what the user sent to what the bundle says of it."""
