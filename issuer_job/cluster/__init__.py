"""Speaks to the API server and knows no object of certjob."""
