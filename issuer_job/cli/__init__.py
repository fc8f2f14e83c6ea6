"""`kubectl certjob`: what certjob's users and operators see and steer it with.

A command is a function in a module of `reading/` (it writes nothing), `writing/`, or a room of its own:

    @command(SCOPE, OUTPUT)                                   # which flags it has besides those of the cluster
    @NAMES                                                    # of certificates; click's own for the rest
    def status(session: Session, names: tuple[str, ...]) -> int | None:
        "One line for the list of commands.\n\nThen what --help says."

and a row in `registry.COMMANDS`: a test compares its line with the docstring, `make schema` writes docs/cli.md
anew. It imports what is slow inside the function. It prints by `session.terminal` alone, asks `session.cluster`, and
returns an `Exit` (None is 0) or raises CommandError; KubeError may pass, `main` has a sentence for it. The flags are
in `session.flags`. Which certificates the user means, and what is known of them, says `sight.certificates`.
"""
