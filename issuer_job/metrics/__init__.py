"""What a process tells Prometheus: families of metrics, and their text."""
