"""One module a revision; applied ones are never changed."""
