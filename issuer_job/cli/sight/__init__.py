"""What can be seen of certificates: by who may read records, and by a tenant's own rights."""
