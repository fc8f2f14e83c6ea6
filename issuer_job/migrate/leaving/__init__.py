"""To cert-manager: a plan by which it has no reason to order anything. Pure."""
