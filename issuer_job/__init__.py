"""Everything that happens to a certificate: the Jobs, the sweep, the responder, and what the webhook launches."""
