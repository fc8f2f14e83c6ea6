"""The way to the cluster: the user's own kubectl."""
