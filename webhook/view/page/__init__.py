"""The status page: what is there, what fails and why, what comes next. It reads, and can do nothing else."""
