"""What every command stands on: flags, the way to the cluster, what it prints, how it ends."""
