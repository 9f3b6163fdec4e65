"""Use-cases: load, ask the core, save, commit, act."""
