"""Whether certjob itself is as it should be: what is read of it, and what follows."""
