"""How TXT records get into DNS: one module a way, one row a provider."""
