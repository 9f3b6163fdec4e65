"""The Kamailio door beside RADIUS: calls ended and limited by JSON-RPC, questions over evapi."""
