"""A real single-node Kubernetes with Traefik and Pebble in a network namespace of its own, for demo and tests."""
