"""The candidates with their live state, shared by all processes of one sidecar."""
