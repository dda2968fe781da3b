"""Reviews: what a change of recipes would cost, and whether it may be made."""
