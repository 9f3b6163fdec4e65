"""Doors to switches: they translate, and know nothing of prices."""
