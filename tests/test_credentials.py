import pytest

from scraper.credentials import address_without_credentials


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:hunter2@shop.example:8443/a@b?c=@#@", "https://***@shop.example:8443/a@b?c=@#@"),
        ("https://me@shop.example/", "https://***@shop.example/"),
        ("https://me:hun@ter2@shop.example/", "https://***@shop.example/"),
        ("https://me:hun/ter2@shop.example/p", "https://***@shop.example/p"),
        ("https://me:hunter2@[::1", "https://***@[::1"),
        ("https://blog.example/@author/post", "https://blog.example/@author/post"),
        ("https://shop.example/p?mail=a@b.example", "https://shop.example/p?mail=a@b.example"),
        ("no url @ all", "no url @ all"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_user_and_password_and_otherwise_whole(url, shown):
    assert address_without_credentials(url) == shown
