"""Who may have which host, and how many orders: asked at launch, at the order, in the sweep."""
