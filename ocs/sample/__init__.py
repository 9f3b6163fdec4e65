"""Sample settings, tariffs and accounts: what `make run` starts with."""
