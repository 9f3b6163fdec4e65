"""How much does a call cost, and how long may it last for the money? Both answers from one curve."""
