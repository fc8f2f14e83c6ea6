"""From a plan to a running attempt; all that the webhook starts."""
