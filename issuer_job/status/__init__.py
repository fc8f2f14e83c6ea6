"""What is, why, what comes next and what to do: the one derivation that every view of certjob shows. Pure."""
