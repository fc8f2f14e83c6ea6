"""The issue Job, from claim to installed certificate."""
