"""What is going on, for people and Prometheus: a snapshot of the records that no request makes anew."""
