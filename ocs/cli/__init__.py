"""The `ocs` command line."""
