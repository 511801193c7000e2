//! Where a coordinator is reached.

use std::{fmt, str::FromStr};

/// The port of a coordinator where none is named.
pub const DEFAULT_PORT: u16 = 7443;

/// Address of a coordinator, written `https://name-or-ip:port`; the scheme and the port may be left out.
///
/// It is no part of the trust: a coordinator shows by its certificate that it is one, wherever it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CoordinatorAddress {
    host: String,
    port: u16,
}

/// Text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no coordinator's address: write it as https://name:{DEFAULT_PORT}, without a path")]
pub struct InvalidAddress {
    /// What was given.
    pub text: String,
}

impl CoordinatorAddress {
    /// Name or IP address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for CoordinatorAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidAddress { text: text.to_owned() };
        let rest = text.strip_prefix("https://").unwrap_or(text);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let authority: http::uri::Authority = rest.parse().map_err(|_| invalid())?;
        // What follows the host is a port or nothing; a user's name before it would be dropped silently.
        let port = match authority.as_str().strip_prefix(authority.host()).ok_or_else(invalid)? {
            "" => DEFAULT_PORT,
            port => port
                .strip_prefix(':')
                .and_then(|port| port.parse().ok())
                .filter(|port| *port != 0)
                .ok_or_else(invalid)?,
        };
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(invalid());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl From<std::net::SocketAddr> for CoordinatorAddress {
    fn from(address: std::net::SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for CoordinatorAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "https://[{host}]:{port}") } else { write!(f, "https://{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_what_it_wrote() {
        for (text, written) in [
            ("https://127.0.0.1:7443", "https://127.0.0.1:7443"),
            ("fleet.example", "https://fleet.example:7443"),
            ("https://[::1]:9/", "https://[::1]:9"),
        ] {
            let address: CoordinatorAddress = text.parse().expect(text);
            assert_eq!(address.to_string(), written);
            assert_eq!(written.parse(), Ok(address));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in ["", "http://a:1", "https://a:0", "https://a:70000", "https://a/b", "a b", "u@a:1", "https://", "a:"]
        {
            assert!(bad.parse::<CoordinatorAddress>().is_err(), "{bad}");
        }
    }
}
