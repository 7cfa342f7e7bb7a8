"""Who may come in: exposure, certificates, tokens, limits. Knows no transport; the lanes put it in place."""
