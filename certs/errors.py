"""The one exception of this package."""


class CertError(ValueError):
    """A key, certificate or name that cannot be used; the message is one sentence for a user."""
