"""Which coding a client accepts, and which tags name one version."""

import pytest

from order_service.limits import ACCEPT_ENCODING_LENGTH_MAX
from order_service.web.compression import coding_of
from order_service.web.responses import plain_tags, unmodified_tag


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (None, None),
        (b"", None),
        (b"gzip", "gzip"),
        (b"GZIP", "gzip"),
        (b"gzip, deflate", "gzip"),
        (b"gzip, deflate, br, zstd", "zstd"),  # browsers
        (b"deflate, gzip, br, zstd", "zstd"),  # curl --compressed
        (b"zstd;q=0.5, gzip;q=0.8", "gzip"),
        (b"zstd ; q=0.5 , gzip;q=0.5", "zstd"),
        (b"*", "zstd"),
        (b"*, zstd;q=0", "gzip"),
        (b"*;q=0", None),
        (b"gzip;q=0", None),
        (b"gzip;q=0.000", None),
        (b"identity", None),
        (b"br, deflate", None),
        (b"x-gzip", None),
        (b"gzip;q=two, zstd;q=2", None),
        (b"\xff\xfe", None),
        (b"gzip," * ACCEPT_ENCODING_LENGTH_MAX, None),
    ],
)
def test_the_coding_is_the_one_that_the_client_likes_best(
    accepted: bytes | None, coding: str | None
) -> None:
    assert coding_of(accepted) == coding


def test_tags_of_all_codings_name_one_version() -> None:
    assert plain_tags('"7-gzip", W/"7-zstd" ,"7"') == '"7", W/"7" ,"7"'
    assert plain_tags('"7-br", "gzip", "-gzip-7"') == '"7-br", "gzip", "-gzip-7"'


@pytest.mark.parametrize(
    ("if_none_match", "tag"),
    [
        ('"7"', '"7"'),
        ('W/"7"', '"7"'),
        ('"6", "7-gzip"', '"7-gzip"'),
        ('W/"7-zstd"', '"7-zstd"'),
        ("*", '"7"'),
        ('"8-gzip"', None),
        ('"7-br"', None),
        ("7", None),
    ],
)
def test_a_304_has_the_tag_that_the_client_has(if_none_match: str, tag: str | None) -> None:
    assert unmodified_tag(if_none_match, '"7"') == tag
