"""Reads, and writes that move no money. What moves money goes through `db.committer`."""
