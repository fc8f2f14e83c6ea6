"""The certificate record: its data, its phases, one pure function an arrow, its compare-and-swap."""
