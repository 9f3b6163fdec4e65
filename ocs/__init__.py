"""Online charging for VoIP."""

__version__ = "0.1.0"
