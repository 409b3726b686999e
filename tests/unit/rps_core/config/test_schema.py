"""The keys of the schema, from its types and from settings."""

from rps_core.config.schema import keys, keys_of
from rps_core.config.settings import Settings, load


def test_settings_have_the_keys_of_their_schema() -> None:
    assert keys_of(load("here", None, None, environment={}).settings) == keys(Settings)
