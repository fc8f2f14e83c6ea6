"""Fast tests of the product, a folder for each of its packages. No cluster, no waiting."""
