"""Tenants' Secrets without a right to read them: canary, look, conditional write, and what may stay there."""
