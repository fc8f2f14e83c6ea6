"""`python -m issuer_job.cli`: the same as kubectl-certjob, from a checkout."""

from __future__ import annotations

from issuer_job.cli.main import main

if __name__ == "__main__":
    main()
