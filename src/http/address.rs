//! The address of this server as a client sees it.

use std::net::Ipv6Addr;

use super::request::Request;

/// The longest host and the longest prefix that are believed.
const MAX_BYTES: usize = 255;

/// The URL that the client has asked, up to the part that is the proxy's: `https://example.org/archive`, without a slash at
/// its end.
///
/// A reverse proxy tells it in `X-Forwarded-Proto`, `X-Forwarded-Host` and `X-Forwarded-Prefix`. Any client can send these
/// headers, and `Host`, so a value that is not exactly a scheme, a host or a path is ignored; the result contains no
/// character that ends a URL, a line or a quoted string. Without a valid host it is `localhost`.
pub(super) fn base_url(request: &Request) -> String {
    let scheme = forwarded(request, "X-Forwarded-Proto").filter(|proto| ["http", "https"].contains(proto));
    let host = forwarded(request, "X-Forwarded-Host").filter(|host| is_host(host));
    let host = host.or_else(|| request.header("Host").filter(|host| is_host(host)));
    let prefix = forwarded(request, "X-Forwarded-Prefix").map(|prefix| prefix.trim_end_matches('/'));
    let prefix = prefix.filter(|prefix| is_prefix(prefix));
    format!("{}://{}{}", scheme.unwrap_or("http"), host.unwrap_or("localhost"), prefix.unwrap_or_default())
}

/// The value of a header that a chain of proxies may have made a list: the first one is that of the proxy that the client
/// has asked.
fn forwarded<'a>(request: &'a Request, name: &'static str) -> Option<&'a str> {
    request.header(name).and_then(|list| list.split(',').next()).map(str::trim)
}

/// Whether a text is a host name, an IPv4 address or an IPv6 address in brackets, perhaps with a port.
fn is_host(text: &str) -> bool {
    let is_name = |name: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        !name.is_empty() && name.bytes().all(is_allowed)
    };
    let (is_valid, port) =
        if let Some((address, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            (address.parse::<Ipv6Addr>().is_ok(), port)
        } else {
            let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            (is_name(name), port)
        };
    // `parse` alone would accept a sign.
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_port = |digits: &str| is_digits(digits) && digits.parse::<u16>().is_ok();
    text.len() <= MAX_BYTES && is_valid && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

/// Whether a text is a path of names of unreserved characters (RFC 3986, section 2.3), without a slash at its end.
fn is_prefix(text: &str) -> bool {
    let is_name = |name: &str| {
        let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        !matches!(name, "" | "." | "..") && name.bytes().all(is_unreserved)
    };
    text.len() <= MAX_BYTES && text.strip_prefix('/').is_some_and(|names| names.split('/').all(is_name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use tiny_http::{HTTPVersion, Header, Method};

    fn base(headers: &[(&str, &str)]) -> String {
        let header = |(name, value): &(&str, &str)| Header::from_bytes(*name, *value).expect("a header");
        base_url(&Request {
            method: Method::Get,
            target: "/".to_owned(),
            version: HTTPVersion(1, 1),
            headers: headers.iter().map(header).collect(),
            body: Arc::default(),
            client: ([127, 0, 0, 1], 1).into(),
        })
    }

    #[test]
    fn the_address_is_that_of_the_host_and_of_proxies() {
        let rows: [(&[(&str, &str)], &str); 9] = [
            (&[("Host", "example.org")], "http://example.org"),
            (&[("Host", "127.0.0.1:8000")], "http://127.0.0.1:8000"),
            (&[("Host", "[::1]:8000")], "http://[::1]:8000"),
            (&[("Host", "[::ffff:1.2.3.4]")], "http://[::ffff:1.2.3.4]"),
            (&[("Host", "a"), ("X-Forwarded-Proto", "https")], "https://a"),
            (&[("Host", "a:8000"), ("X-Forwarded-Host", "b.example:8443")], "http://b.example:8443"),
            (&[("Host", "a"), ("X-Forwarded-Prefix", "/x/y/")], "http://a/x/y"),
            (&[("Host", "a"), ("X-Forwarded-Prefix", "/")], "http://a"),
            (
                &[("Host", "a"), ("X-Forwarded-Proto", "https, http"), ("X-Forwarded-Host", "b , c")],
                "https://b",
            ),
        ];
        for (headers, expected) in rows {
            assert_eq!(base(headers), expected, "{headers:?}");
        }
        assert_eq!(base(&[]), "http://localhost");
    }

    #[test]
    fn values_that_are_not_a_scheme_a_host_or_a_path_are_ignored() {
        let long = format!("/{}", "a".repeat(256));
        let rows = [
            ("X-Forwarded-Proto", "ftp HTTPS https: javascript https://evil http\thttps"),
            (
                "X-Forwarded-Host",
                "a/b a\"b a@b a#b a?b a: a:x a:65536 a:1:2 a:+1 :80 <a> a|b a%22 a\\b {utc}",
            ),
            ("X-Forwarded-Host", "[] [::1 ::1 [::1]x [::1]80 [g] [fe80::1%25eth0]"),
            (
                "X-Forwarded-Prefix",
                "x //evil.example /x//y /.. /x/../y /. /x\" /x?y /x#y /%22 /{utc} /x\\y /x:y /x|y",
            ),
        ];
        let in_rows =
            rows.into_iter().flat_map(|(name, values)| values.split(' ').map(move |value| (name, value)));
        let others =
            [("X-Forwarded-Host", &long[1..]), ("X-Forwarded-Host", "a b"), ("X-Forwarded-Host", "")];
        let prefixes =
            [("X-Forwarded-Prefix", &*long), ("X-Forwarded-Prefix", "/x y"), ("X-Forwarded-Prefix", "")];
        for header in in_rows.chain(others).chain(prefixes) {
            assert_eq!(base(&[("Host", "a"), header]), "http://a", "{header:?}");
        }
        for host in ["a b", "a/b", "a\"b", "evil@a", "a:x"] {
            assert_eq!(base(&[("Host", host)]), "http://localhost", "{host}");
        }
    }
}
