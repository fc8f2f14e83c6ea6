"""certjob's manifests for another namespace than `certjob`:

kubectl kustomize overlay/ | python -m supply.elsewhere NAMESPACE | kubectl apply -f -
"""

from __future__ import annotations

import re
import sys

import yaml

from issuer_job.cli.doctoring.elsewhere import elsewhere as elsewhere  # handed on


def main(namespace: str) -> None:
    """From standard input to standard output, both YAML."""
    documents = (elsewhere(each, namespace) for each in yaml.safe_load_all(sys.stdin) if each is not None)
    yaml.safe_dump_all(documents, sys.stdout, sort_keys=False, allow_unicode=True, width=2**20)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not re.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", sys.argv[1]):
        sys.exit("usage: python -m supply.elsewhere NAMESPACE < manifests > manifests of that namespace")
    main(sys.argv[1])
