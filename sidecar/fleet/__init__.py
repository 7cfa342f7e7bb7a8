"""The candidates' live state: shared memory between the processes of a sidecar, and the arithmetic over it."""
