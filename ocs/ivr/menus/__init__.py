"""The menus that come with the product."""
