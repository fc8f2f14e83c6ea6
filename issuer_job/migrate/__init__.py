"""From and to other tools, with not one new order: what moves, in which steps, and what cannot."""
