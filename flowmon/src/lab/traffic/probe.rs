//! The least traffic that shows what was opened, from where to where.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use flowmon_common::wire::protocol;

use super::{Error, Namespace, datagram, make_in, ping, sctp, tcp};

/// A question that must be answered.
#[derive(Debug, Clone, Copy)]
pub struct Probe<'a> {
    /// Who asks.
    pub client: &'a Namespace,
    /// From which of its addresses.
    pub source: IpAddr,
    /// Who is asked.
    pub server: &'a Namespace,
    /// At which of its addresses.
    pub target: IpAddr,
    /// What.
    pub kind: Kind,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A connection to this port that is used and closed.
    Tcp(u16),
    /// A datagram to this port, which is sent back.
    Udp(u16),
    /// The beginning of an association with this port, which goes no further.
    Sctp(u16),
    /// An echo, by ICMP or its IPv6 counterpart.
    Echo,
}

/// What passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// The client's address and port; of an echo, its identifier.
    pub client: SocketAddr,
    /// The server's; of an echo, the type and code of the request.
    pub server: SocketAddr,
}

/// Payload of each question and each answer.
const BYTES: u16 = 32;
/// ICMP echo identifier.
const ECHO_ID: u16 = 0x0f70;
/// Where associations come from.
const SCTP_PORT: u16 = 50_000;

impl Kind {
    /// IP protocol number, between addresses of this family.
    pub const fn protocol(self, family: IpAddr) -> u8 {
        match (self, family) {
            (Self::Tcp(_), _) => protocol::TCP,
            (Self::Udp(_), _) => protocol::UDP,
            (Self::Sctp(_), _) => protocol::SCTP,
            (Self::Echo, IpAddr::V4(_)) => protocol::ICMP,
            (Self::Echo, IpAddr::V6(_)) => protocol::ICMPV6,
        }
    }

    /// Packets from the client and from the server, where that is sure.
    pub const fn packets(self) -> (Option<u64>, Option<u64>) {
        match self {
            // Acknowledgements travel alone or with data.
            Self::Tcp(_) => (None, None),
            Self::Udp(_) | Self::Echo => (Some(1), Some(1)),
            Self::Sctp(_) => (Some(1), None),
        }
    }
}

/// Asks, and waits for the answer.
///
/// # Errors
/// There was no such answer.
pub fn probe(probe: &Probe<'_>) -> Result<Passed, Error> {
    ask(probe).map_err(|source| Error::Traffic {
        exchange: format!(
            "{:?} from {} to {}",
            probe.kind,
            probe.client.name(),
            probe.server.name()
        ),
        source,
    })
}

fn ask(probe: &Probe<'_>) -> io::Result<Passed> {
    let Probe {
        client,
        source,
        server,
        target,
        kind,
    } = *probe;
    match kind {
        Kind::Tcp(port) => {
            let listener = make_in(server, || TcpListener::bind((target, port)))?;
            let bytes = u64::from(BYTES);
            let passed = tcp::connection(client, Some(source), &listener, bytes, bytes)?;
            Ok(Passed {
                client: passed.client,
                server: passed.server,
            })
        }
        Kind::Udp(port) => {
            let (from, to) = ((source, 0).into(), (target, port).into());
            let (near, far, peer) = datagram::pair(client, from, server, to)?;
            let question = [b'.'; BYTES as usize];
            near.send(&question)?;
            datagram::expect(&far, &question)?;
            far.send_to(&question, peer)?;
            datagram::expect(&near, &question)?;
            Ok(Passed {
                client: peer,
                server: to,
            })
        }
        Kind::Sctp(port) => {
            // So that there and back are not alike.
            let own = SCTP_PORT + u16::from(port == SCTP_PORT);
            let (from, to) = ((source, own).into(), (target, port).into());
            sctp::init(client, from, server, to)?;
            Ok(Passed {
                client: from,
                server: to,
            })
        }
        Kind::Echo => {
            ping::echo(client, source, target, ECHO_ID, BYTES)?;
            let message = u16::from_be_bytes([if target.is_ipv4() { 8 } else { 128 }, 0]);
            Ok(Passed {
                client: (source, ECHO_ID).into(),
                server: (target, message).into(),
            })
        }
    }
}
