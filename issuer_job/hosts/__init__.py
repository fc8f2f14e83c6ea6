"""Who may have which host: asked at launch, at the order, in the sweep."""
