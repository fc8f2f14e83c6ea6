"""The Helm chart in manifests/chart: its templates from what kustomize makes of the manifests, its schema and its
page from values.yaml. No part of the product: `make chart`.
"""
