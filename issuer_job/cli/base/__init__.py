"""What every command stands on: flags, session, and how it ends."""
