"""What support needs to see of an installation, without what has to stay in the house."""
