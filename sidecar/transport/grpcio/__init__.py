"""The portable transport, on the public API of grpcio."""
