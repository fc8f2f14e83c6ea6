"""From the words of one tool to those of the other. Pure."""
