"""The processes of a sidecar: how the worker processes share one port."""
