"""What happens next in a call? One table of (state, event), pure."""
