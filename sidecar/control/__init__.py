"""The control process and how workers talk with it. Imports no grpc: the data plane lives on without this process."""

# In the directory that the supervisor makes for its processes.
CONFIG = "config.json"
SOCKET = "control.sock"
OBSERVER = "observer.sock"
# What they end with if they cannot serve: EX_CONFIG of sysexits.h. Starting them again will not help.
CONFIG_FAULT = 78
