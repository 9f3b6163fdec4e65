"""Everything that starts things: settings, clock, logs, metrics, bootstrap, daemon."""
