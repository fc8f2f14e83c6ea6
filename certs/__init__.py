"""X.509 for certjob: pure functions over bytes, names and times (no files, no network, no clock).

Import what you need from the modules: the host name and renewal rules cost no import of cryptography.
"""
