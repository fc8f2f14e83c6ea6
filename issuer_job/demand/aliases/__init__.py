"""What the annotations of other tools mean to certjob, where the operator has them read."""
