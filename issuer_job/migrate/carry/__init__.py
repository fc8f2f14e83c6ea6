"""A move carried out: what is read before, handshakes, writes and waits, and files for whoever applies them."""
