"""Find or start the personal service of a login node, and print a name that it issues; as the user."""

from rps_core.proxy_client.endpoint import own_endpoint
from rps_core.proxy_client.personal import for_known_session
from rps_core.proxy_client.rps import RpsClient

on_cluster = for_known_session("127.0.0.1")
endpoint, key = own_endpoint(on_cluster)
client = RpsClient(endpoint, 10, key, on_cluster=on_cluster)
print(client.issue(cluster="c", scheduler="s", user="ann").name)
