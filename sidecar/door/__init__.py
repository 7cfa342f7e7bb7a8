"""Who may come in: exposure, certificates, tokens, limits. Knows no transport; the transports put it in place."""
