"""HTTP-01 at both ends."""
