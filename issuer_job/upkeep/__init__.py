"""What a pass keeps in order besides certificates."""
