"""What other tools have in the cluster, as far as it says who has which certificate."""
