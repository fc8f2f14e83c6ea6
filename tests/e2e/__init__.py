"""Tests on the local cluster, where API server, quota, kubelet or a real CA decide, and what they share."""
