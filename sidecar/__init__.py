"""router-sidecar: decides, inline, which model answers each LLM request."""

__version__ = "0.1.0"
