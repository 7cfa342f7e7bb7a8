"""Routers over a transformer encoder. Needs the extra `encoder`; nothing that serves imports this."""
