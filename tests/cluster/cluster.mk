# The local cluster; docs/cluster.md explains it.
.PHONY: cluster cluster-browser cluster-down cluster-images cluster-helm cluster-monitoring cluster-peers cluster-site cluster-status cluster-workflows

cluster:  ## start the local cluster (Kubernetes, Traefik, Pebble) or see that it runs; build and load the images
	@python3 -m tests.cluster up

cluster-down:  ## stop the local cluster and remove everything but caches and logs
	@python3 -m tests.cluster down

cluster-images:  ## build certjob's images and load them into the running cluster
	@python3 -m tests.cluster images

cluster-helm:  ## build Helm 3 and 4, for the tests of the chart
	@python3 -m tests.cluster which kubectl helm3 helm4 >/dev/null

cluster-workflows:  ## what looks at workflows and shell scripts, for the tests of releases
	@python3 -m tests.cluster which zizmor shellcheck >/dev/null

cluster-browser:  ## a Chromium for the tests of the status page, if there is none
	@command -v chromium >/dev/null || python3 -m tests.cluster which chromium >/dev/null

cluster-peers:  ## build and install the ACME servers that others wrote, for make peers and the end-to-end tests
	@python3 -m tests.cluster peers

cluster-monitoring:  ## unpack Debian's Prometheus and promtool, for the tests of metrics and alerts
	@python3 -m tests.cluster monitoring

cluster-site:  ## install what makes the site and the plots
	@python3 -m tests.cluster which site >/dev/null

cluster-status:  ## what of the local cluster runs, as JSON
	@python3 -m tests.cluster status
