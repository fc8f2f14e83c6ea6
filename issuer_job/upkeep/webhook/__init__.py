"""The way from the API server to the webhook: who is trusted, what is sent where, and that the pods know it."""
