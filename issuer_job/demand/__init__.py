"""What users' objects ask for, whether an issuer may serve it, whether that needs a new attempt."""
