"""Transports: what speaks a protocol."""
