"""The issuer's ACME account: made, found, replaced, its key rolled over."""
