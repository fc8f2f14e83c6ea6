"""The admission webhook: what the API server asks about, decided, patched, and launched in the same request."""
