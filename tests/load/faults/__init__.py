"""`make faults`: every fault that certjob has to survive, made on the local cluster, and what was seen of it."""
