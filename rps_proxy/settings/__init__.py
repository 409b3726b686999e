"""The service's configuration; `conf/rps_conf/proxy.yaml` documents every key."""
