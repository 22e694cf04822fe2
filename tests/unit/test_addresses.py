"""Which addresses are public: everything that leads to this machine, a private network or a cloud's own is not."""

from __future__ import annotations

import pytest

from tieout.system.addresses import PrivateAddress, PublicResolver, is_public, literal_refused


@pytest.mark.parametrize(
    "address",
    """127.0.0.1 127.8.9.1 0.0.0.0 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 100.64.0.1
    192.0.0.1 198.18.0.1 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 ::1 :: fe80::1 fe80::1%eth0 fc00::1 fd00:ec2::254
    ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 2002:7f00:1::
    2002:a00:1::1 2001:0:7f00:1::1 2001:db8::1 nonsense""".split(),
)
def test_what_is_not_public_is_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_what_is_public_is_not(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1/x", "https://[::1]:8443/x", "https://[::ffff:10.0.0.1]/", "http://169.254.169.254"],
)
def test_an_address_in_the_url_is_looked_at_too(url: str) -> None:
    assert "private = true" in literal_refused(url)


@pytest.mark.parametrize("url", ["https://hooks.example.com/x", "https://8.8.8.8/x"])
def test_a_name_is_left_to_the_resolver(url: str) -> None:
    assert literal_refused(url) == ""


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f000001"])
async def test_a_name_that_leads_here_is_refused_however_it_is_written(host: str) -> None:
    resolver = PublicResolver()
    with pytest.raises(PrivateAddress, match="no public address"):
        await resolver.resolve(host, 443)
    await resolver.close()
