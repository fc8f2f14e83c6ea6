"""What many tests need: records, reviews, set-ups of fakes with the product in them."""
