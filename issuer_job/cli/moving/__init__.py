"""Moving between certjob and other tools, as a command."""
