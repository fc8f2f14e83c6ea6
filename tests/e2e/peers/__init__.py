"""ACME servers that others wrote (step-ca, Caddy, acme2certifier), and what certjob has to reach with each."""
