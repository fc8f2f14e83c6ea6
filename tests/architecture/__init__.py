"""The house as the code has it: which package imports which, on which floor it stands, and a picture of that."""
