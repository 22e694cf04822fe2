"""Signatures of token-based authentication, and what the configuration of a sign-in needs."""

from __future__ import annotations

import pytest

from tests.unit.connectors.netsuite_world import config
from tieout.canonical.secret import Secret
from tieout.connectors.netsuite.signin import base_string, escaped


def test_base_string_of_the_rfc() -> None:
    """RFC 5849, 3.4.1.1; its form fields stand in the query here, which are signed alike."""
    given = {
        "oauth_consumer_key": "9djdj82h48djs9d2",
        "oauth_token": "kkk9d7dh3k39sjv7",
        "oauth_signature_method": "HMAC-SHA1",
        "oauth_timestamp": "137131201",
        "oauth_nonce": "7d8f3e4a",
    }
    url = "http://EXAMPLE.COM/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b&c2&a3=2+q"
    assert base_string("post", url, given) == (
        "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D"
        "%26c2%3D%26oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_method%3D"
        "HMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7"
    )


def test_escaping_is_the_rfcs() -> None:
    assert escaped("aZ9-._~") == "aZ9-._~"
    assert escaped("!*'()/ +=&é") == "%21%2A%27%28%29%2F%20%2B%3D%26%C3%A9"


def test_each_way_of_signing_in_names_what_it_lacks() -> None:
    with pytest.raises(ValueError, match="consumer_secret, token_secret: needed for sign_in 'tba'"):
        config(sign_in="tba", consumer_key="k", token_id="t")
    with pytest.raises(ValueError, match="private_key: needed for sign_in 'oauth2'"):
        config(private_key=Secret(""))
    with pytest.raises(ValueError, match="sign_in: one of oauth2, tba"):
        config(sign_in="password")
    for changes in ({"batch_size": 101}, {"batch_size": -1}, {"job_poll_seconds": 0}):
        with pytest.raises(ValueError, match="batch"):
            config(**changes)
