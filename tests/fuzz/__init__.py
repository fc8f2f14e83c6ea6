"""Fuzzing of everything that reads what strangers wrote: `make fuzz`, see docs/reliability.md."""
