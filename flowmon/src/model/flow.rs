//! One bidirectional flow at one endpoint, as the kernel side counted it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use flowmon_common::{
    Address, FlowKey, FlowStats, Initiator, Totals,
    wire::{ethertype, protocol},
};

use serde::{Serialize, Serializer};

use super::TcpState;

/// A flow and its counters, cumulative since it was first seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Which flow.
    pub key: FlowKey,
    /// What is known of it.
    pub stats: FlowStats,
    /// Last packet (`CLOCK_MONOTONIC`, ns), to a tick of the kernel's timer: 1 to 10 ms.
    pub last_ns: u64,
}

/// Who opened a flow, as seen from the endpoint.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The endpoint.
    Egress,
    /// The peer.
    Ingress,
    /// It was under way when first seen.
    Unknown,
}

/// What a flow speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// An IP protocol, by its IANA number.
    Ip(u8),
    /// Not IP: an `EtherType`, or 0 for 802.3 frames with LLC.
    Ethernet(u16),
}

/// What an ICMP flow is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Icmp {
    /// Type; of the request, where messages come in pairs.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Identifier, where messages come in pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u16>,
}

impl Flow {
    /// Who opened it.
    pub const fn direction(&self) -> Direction {
        match Initiator::from_abi(self.stats.initiator) {
            Initiator::Local => Direction::Egress,
            Initiator::Remote => Direction::Ingress,
            Initiator::Unknown => Direction::Unknown,
        }
    }

    /// What it speaks.
    pub const fn protocol(&self) -> Protocol {
        match self.key.l3 {
            4 | 6 => Protocol::Ip(self.key.protocol),
            _ => Protocol::Ethernet(self.key.remote_port),
        }
    }

    /// The endpoint's address; none when not IP.
    pub fn local_ip(&self) -> Option<IpAddr> {
        Self::address_of(self.key.l3, self.key.local)
    }

    /// The peer's address; none when not IP.
    pub fn remote_ip(&self) -> Option<IpAddr> {
        Self::address_of(self.key.l3, self.key.remote)
    }

    /// Both ports, the endpoint's first; none where the protocol has none, or where only fragments
    /// were seen that do not tell.
    pub fn ports(&self) -> Option<(u16, u16)> {
        let has_ports = matches!(
            self.protocol(),
            Protocol::Ip(
                protocol::TCP
                    | protocol::UDP
                    | protocol::UDP_LITE
                    | protocol::DCCP
                    | protocol::SCTP
            )
        );
        let ports = (self.key.local_port, self.key.remote_port);
        (has_ports && ports != (0, 0)).then_some(ports)
    }

    /// The port of the side that was asked; none where the protocol has none, or where it is not known
    /// who asked.
    pub fn asked_port(&self) -> Option<u16> {
        let (local, remote) = self.ports()?;
        match self.direction() {
            Direction::Egress => Some(remote),
            Direction::Ingress => Some(local),
            Direction::Unknown => None,
        }
    }

    /// An address of a key, by the key's `l3`; none where it is not IP.
    pub fn address_of(l3: u8, address: Address) -> Option<IpAddr> {
        let v6 = Ipv6Addr::from(address);
        match l3 {
            4 => Some(IpAddr::V4(
                v6.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED),
            )),
            6 => Some(IpAddr::V6(v6)),
            _ => None,
        }
    }

    /// The message, when it is ICMP.
    pub fn icmp(&self) -> Option<Icmp> {
        let first_pair = match self.protocol() {
            Protocol::Ip(protocol::ICMP) if self.key.l3 == 4 => [8, 13, 15, 17],
            Protocol::Ip(protocol::ICMPV6) if self.key.l3 == 6 => [128; 4],
            _ => return None,
        };
        // See `Parsed::source_port`: who asks has the identifier, who is asked the message.
        let (asking, asked) = match self.direction() {
            Direction::Ingress => (self.key.remote_port, self.key.local_port),
            Direction::Unknown if self.key.remote_port == 0 => (0, self.key.local_port),
            Direction::Egress | Direction::Unknown => (self.key.local_port, self.key.remote_port),
        };
        let [kind, code] = asked.to_be_bytes();
        let id = first_pair.contains(&kind).then_some(asking);
        Some(Icmp { kind, code, id })
    }

    /// How far the connection got, when it is TCP.
    pub fn tcp_state(&self, now_ns: u64) -> Option<TcpState> {
        let idle_ns = now_ns.saturating_sub(self.last_ns);
        self.is_tcp().then(|| TcpState::of(&self.stats, idle_ns))
    }

    /// Is it TCP?
    pub fn is_tcp(&self) -> bool {
        self.protocol() == Protocol::Ip(protocol::TCP)
    }

    /// Both directions' packets and bytes.
    pub const fn totals(&self) -> Totals {
        Totals {
            tx: self.stats.tx.traffic,
            rx: self.stats.rx.traffic,
        }
    }
}

impl Direction {
    /// As in records and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
            Self::Unknown => "unknown",
        }
    }
}

impl Protocol {
    /// Its name in records; none where the number has to do.
    const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Ip(protocol::TCP) => "tcp",
            Self::Ip(protocol::UDP) => "udp",
            Self::Ip(protocol::SCTP) => "sctp",
            Self::Ip(protocol::ICMP) => "icmp",
            Self::Ip(protocol::ICMPV6) => "icmpv6",
            Self::Ethernet(ethertype::ARP) => "arp",
            Self::Ethernet(0) => "llc",
            Self::Ip(_) | Self::Ethernet(_) => return None,
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self) {
            (Some(name), _) => f.pad(name),
            (None, Self::Ip(number)) => write!(f, "{number}"),
            (None, Self::Ethernet(ethertype)) => write!(f, "ethertype-{ethertype:#06x}"),
        }
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.name() {
            Some(name) => serializer.serialize_str(name),
            None => serializer.collect_str(self),
        }
    }
}

impl FromStr for Protocol {
    type Err = ();

    /// As it is displayed.
    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text {
            "tcp" => Self::Ip(protocol::TCP),
            "udp" => Self::Ip(protocol::UDP),
            "sctp" => Self::Ip(protocol::SCTP),
            "icmp" => Self::Ip(protocol::ICMP),
            "icmpv6" => Self::Ip(protocol::ICMPV6),
            "arp" => Self::Ethernet(ethertype::ARP),
            "llc" => Self::Ethernet(0),
            _ => match text.strip_prefix("ethertype-0x") {
                Some(hex) => Self::Ethernet(u16::from_str_radix(hex, 16).map_err(|_| ())?),
                None => Self::Ip(text.parse().map_err(|_| ())?),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_read_as_it_is_written() {
        let ip = (0..=u8::MAX).map(Protocol::Ip);
        let ethernet = (0..=u16::MAX).map(Protocol::Ethernet);
        for protocol in ip.chain(ethernet) {
            assert_eq!(protocol.to_string().parse(), Ok(protocol));
        }
        for wrong in [
            "",
            "TCP",
            "256",
            "-1",
            "ethertype-0x",
            "ethertype-0x12345",
            "tcp ",
        ] {
            assert_eq!(wrong.parse::<Protocol>(), Err(()), "{wrong}");
        }
    }
}
