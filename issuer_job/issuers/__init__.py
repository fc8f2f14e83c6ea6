"""What operators configured, read strictly into frozen values, and the state kept beside it."""
