"""Shell completion for who calls kubectl-certjob by its own name."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from issuer_job.cli.base.command import command
from issuer_job.cli.base.endings import CommandError
from issuer_job.cli.base.session import Session

EXECUTABLE = "kubectl-certjob"
VARIABLE = "_KUBECTL_CERTJOB_COMPLETE"


@command(cluster=False)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(session: Session, shell: str) -> None:
    """Print what makes a shell complete kubectl-certjob.

    `kubectl certjob` itself needs none of it: kubectl from 1.26 on asks kubectl_complete-certjob, if that is on the
    PATH. For the command's own name: source <(kubectl certjob completion bash), or zsh; for fish:
    kubectl certjob completion fish | source.
    """
    found = get_completion_class(shell)
    if found is None:
        raise CommandError(f"click knows no completion for {shell}")
    script = found(click.Group(), {}, EXECUTABLE, VARIABLE).source()
    for line in script.splitlines():
        session.terminal.line(line)
