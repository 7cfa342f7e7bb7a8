"""HTTP/2 of our own: gRPC for the whole port."""
