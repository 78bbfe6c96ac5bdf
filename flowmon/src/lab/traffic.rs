//! Traffic with a truth known beforehand: what was asked for is exactly what was exchanged, or
//! the function fails. Addresses may be IPv4 or IPv6 throughout.
//!
//! No handshake between client and server is needed: the server's socket is made and bound
//! before the client's, and a socket can be used outside the namespace it was made in.

mod datagram;
mod ping;
mod probe;
mod sctp;
mod tcp;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

pub use datagram::{dns_lookup, udp_exchange};
pub use ping::ping;
pub use probe::{Kind, Passed, Probe, probe};
pub use tcp::{tcp_connections, tcp_refused, tcp_transfer};

use super::{Error, Namespace};

/// Every read and write ends after this long: in a lab each of them takes microseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// What passed between a client and a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// The client's end.
    pub client: SocketAddr,
    /// The server's end.
    pub server: SocketAddr,
    /// Payload bytes from the client to the server.
    pub sent: u64,
    /// Payload bytes from the server to the client.
    pub received: u64,
}

/// Makes something in a namespace; used for sockets, which stay there.
fn make_in<T: Send>(
    namespace: &Namespace,
    make: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    namespace.run(make).map_err(io::Error::other).flatten()
}

/// Any address and any port of the same family as `of`.
fn any(of: IpAddr) -> SocketAddr {
    match of {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// The answer was not the one that must come.
fn unexpected(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
