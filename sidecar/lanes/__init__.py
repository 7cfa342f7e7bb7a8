"""Adapters between gRPC and the core: two lanes, one meaning."""
