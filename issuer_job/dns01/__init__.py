"""DNS-01: written down, put there, waited for, removed."""
