"""The commands that write nothing."""
