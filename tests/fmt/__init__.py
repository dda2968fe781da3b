"""`omixa fmt`: what it writes, and that it loses nothing."""
