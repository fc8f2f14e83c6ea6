"""Programs that measure on the local cluster: bench, scale, soak, chaos."""
