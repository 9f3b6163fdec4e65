"""The RADIUS door."""
