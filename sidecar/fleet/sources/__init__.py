"""Where the live state of candidates comes from: their servers' metrics, ORCA reports, rate-limit headers."""
