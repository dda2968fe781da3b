"""Long proofs: commands of their own. Each prints what it found, and exits 1 when a promise did not hold."""
