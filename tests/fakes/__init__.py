"""Small classes in the place of servers: API server, CA, DNS, a clock; faults on demand."""
