"""The FreeSWITCH door (Event Socket)."""
