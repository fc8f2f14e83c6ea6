"""Whether an order would succeed: what is asked before there is one, and what follows from the answers."""
