"""The HTTP door: local control socket, TCP with a token, metrics and health."""
