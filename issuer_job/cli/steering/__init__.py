"""How commands write: on what asks, or on the record, for real or as a dry run."""
