"""What a prepaid caller hears: menus as data, and the machine that walks them. Pure."""
