"""How each type of issuer obtains a certificate, and what its own Job asks before anybody needs one."""
