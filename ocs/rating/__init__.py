"""What does a call cost, and how long may it last? Pure functions over tariffs."""
