"""The local endpoint: a real HTTP server that keeps the contract and really enlarges the picture."""
