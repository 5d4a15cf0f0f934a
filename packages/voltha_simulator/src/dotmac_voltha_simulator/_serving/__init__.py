"""The edge: gRPC in, statuses out, streams, and the switches that make it misbehave."""
