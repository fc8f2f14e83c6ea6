"""What a move is: rows to read, and steps that may be repeated. Pure."""
