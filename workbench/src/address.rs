//! HOST:PORT, as the command line takes it.

use std::net::SocketAddr;

/// Whether a port may be any free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// To listen on: 0 is any.
    Any,
    /// To be found at: 0 is none.
    Known,
}

/// Whether `text` is a name or an address and a port; an IPv6 address stands in brackets. Whether the name is known turns out later: a
/// name server may not be up yet.
pub(crate) fn is_host_port(text: &str, port: Port) -> bool {
    let Some((host, number)) = text.rsplit_once(':') else {
        return false;
    };
    let is_number = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    let Some(number) = number.parse::<u16>().ok().filter(|_| is_number) else {
        return false;
    };
    if number == 0 && port == Port::Known {
        return false;
    }
    if host.starts_with('[') {
        return text.parse::<SocketAddr>().is_ok();
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') || !byte.is_ascii();
    !host.is_empty() && host.bytes().all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["127.0.0.1:35963", "localhost:1", "[::1]:65535", "reader-1.example:80"] {
            assert!(is_host_port(good, Port::Known), "{good}");
        }
        for bad in [
            "",
            ":",
            "5",
            "host",
            "host:",
            ":5",
            "host:65536",
            "host:+5",
            "host:x",
            "vpcd:127.0.0.1:35963",
            "::1:5",
            "[::1]",
            "[::1:5",
            "[x]:5",
            "a b:5",
            "http://host:5",
        ] {
            assert!(!is_host_port(bad, Port::Any), "{bad}");
        }
        assert!(is_host_port("127.0.0.1:0", Port::Any));
        assert!(!is_host_port("127.0.0.1:0", Port::Known));
    }
}
