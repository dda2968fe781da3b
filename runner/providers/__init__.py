"""The ways to reach a paid endpoint, and what can come back."""
