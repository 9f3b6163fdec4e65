"""The Diameter door: credit control (Ro, Gy) and accounting (Rf) over RFC 6733."""
