"""The issuer's own Job: tests it, and does with its credentials what no order does."""
