"""The control process and how workers talk with it. Imports no grpc: the data plane lives on without this process."""
