"""Tests, what they need, and the programs that measure. CONTRIBUTING.md says what is where."""
