"""What the sidecars of a group tell each other of the candidates, through Valkey or Redis. Off the Route path."""
