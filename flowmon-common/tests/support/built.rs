//! Frames built by etherparse from a plan, and what flowmon is to read from them.
#![expect(
    clippy::unwrap_used,
    reason = "a plan that cannot be built is a failing test"
)]

use std::net::{Ipv4Addr, Ipv6Addr};

use super::plan::{Network, Plan, Transport};
use etherparse::{
    IpAuthHeader, IpFragOffset, IpHeaders, Ipv4Extensions, Ipv4Header, Ipv4Options, Ipv6Extensions,
    Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, Ipv6RoutingExtensions, PacketBuilder,
    TcpHeader, VlanId, ip_number,
};
use flowmon_common::{
    Address, Parsed,
    parse::{Fragment, Sender},
};

/// A frame made of a [`Plan`].
#[derive(Debug, Clone)]
pub(crate) struct Built {
    pub(crate) bytes: Vec<u8>,
    /// Where the IP header starts.
    pub(crate) network_at: usize,
    /// Where the transport header starts.
    pub(crate) transport_at: usize,
    /// What is to be read from it.
    pub(crate) expected: Parsed,
}

impl Plan {
    /// Builds it.
    pub(crate) fn build(&self) -> Built {
        let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let id = |vlan| VlanId::try_new(vlan).unwrap();
        let ip = self.network.headers();
        let network_at = 14 + 4 * self.vlans.len();
        let transport_at = network_at + ip.header_len();
        let step = match self.vlans[..] {
            [] => link.ip(ip),
            [vlan] => link.single_vlan(id(vlan)).ip(ip),
            [outer, inner, ..] => link.double_vlan(id(outer), id(inner)).ip(ip),
        };
        let payload = vec![0x55; self.payload];
        let mut bytes = Vec::new();
        match (&self.transport, &self.network) {
            (Transport::Tcp { .. }, _) => {
                let step = step.tcp_header(self.transport.tcp());
                step.write(&mut bytes, &payload)
            }
            (&Transport::Udp { ports }, _) => {
                step.udp(ports.0, ports.1).write(&mut bytes, &payload)
            }
            (&Transport::Echo { identifier, reply }, Network::V4 { .. }) => if reply {
                step.icmpv4_echo_reply(identifier, 1)
            } else {
                step.icmpv4_echo_request(identifier, 1)
            }
            .write(&mut bytes, &payload),
            (&Transport::Echo { identifier, reply }, Network::V6 { .. }) => if reply {
                step.icmpv6_echo_reply(identifier, 1)
            } else {
                step.icmpv6_echo_request(identifier, 1)
            }
            .write(&mut bytes, &payload),
        }
        .unwrap();
        let header_len = bytes.len() - self.payload;
        bytes.resize(bytes.len() + self.padding, 0);
        Built {
            bytes,
            network_at,
            transport_at,
            expected: self.expected(u32::try_from(header_len).unwrap()),
        }
    }

    fn expected(&self, header_len: u32) -> Parsed {
        let v4 = |address: [u8; 4]| Address::from(Ipv4Addr::from(address));
        let v6 = |address: [u8; 16]| Address::from(Ipv6Addr::from(address));
        let (source, destination, l3) = match self.network {
            Network::V4 { addresses, .. } => (v4(addresses.0), v4(addresses.1), 4),
            Network::V6 { addresses, .. } => (v6(addresses.0), v6(addresses.1), 6),
        };
        let packet = Parsed {
            source,
            destination,
            l3,
            vlan: self.vlans.first().copied().unwrap_or(0),
            header_len,
            payload_len: u32::try_from(self.payload).unwrap(),
            fragment: Fragment::No,
            ..Parsed::EMPTY
        };
        match self.transport {
            Transport::Tcp {
                ports,
                sequence,
                acknowledgement,
                flags,
                window,
                ..
            } => Parsed {
                protocol: 6,
                source_port: ports.0,
                destination_port: ports.1,
                sequence,
                acknowledgement,
                tcp_flags: flags,
                tcp_header: true,
                window,
                sender: match (flags & 0x02 != 0, flags & 0x10 != 0) {
                    (true, false) => Sender::Opens,
                    (true, true) => Sender::Answers,
                    (false, _) => Sender::Continues,
                },
                ..packet
            },
            Transport::Udp { ports } => Parsed {
                protocol: 17,
                source_port: ports.0,
                destination_port: ports.1,
                ..packet
            },
            Transport::Echo { identifier, reply } => {
                let (protocol, request) = if l3 == 4 { (1, 0x0800) } else { (58, 0x8000) };
                let (source_port, destination_port, sender) = if reply {
                    (request, identifier, Sender::Answers)
                } else {
                    (identifier, request, Sender::Opens)
                };
                Parsed {
                    protocol,
                    source_port,
                    destination_port,
                    sender,
                    sequence: 1,
                    ..packet
                }
            }
        }
    }
}

impl Network {
    fn headers(&self) -> IpHeaders {
        let auth =
            |words: usize| IpAuthHeader::new(ip_number::TCP, 1, 2, &vec![7; words * 4]).unwrap();
        let raw = |more: usize| {
            Ipv6RawExtHeader::new_raw(ip_number::TCP, &vec![0; 6 + more * 8]).unwrap()
        };
        match *self {
            Self::V4 {
                addresses,
                identification,
                option_words,
                authentication,
            } => {
                let mut header =
                    Ipv4Header::new(0, 64, ip_number::TCP, addresses.0, addresses.1).unwrap();
                header.identification = identification;
                header.options = Ipv4Options::try_from(&vec![1; option_words * 4][..]).unwrap();
                let auth = authentication.map(auth);
                IpHeaders::Ipv4(header, Ipv4Extensions { auth })
            }
            Self::V6 {
                addresses,
                hop_by_hop,
                destination,
                routing,
                atomic_fragment,
                authentication,
            } => IpHeaders::Ipv6(
                Ipv6Header {
                    source: addresses.0,
                    destination: addresses.1,
                    ..Default::default()
                },
                Ipv6Extensions {
                    hop_by_hop_options: hop_by_hop.map(raw),
                    destination_options: destination.map(raw),
                    routing: routing.map(|(routing, last)| Ipv6RoutingExtensions {
                        routing: raw(routing),
                        final_destination_options: last.map(raw),
                    }),
                    fragment: atomic_fragment.map(|id| {
                        Ipv6FragmentHeader::new(ip_number::TCP, IpFragOffset::ZERO, false, id)
                    }),
                    auth: authentication.map(auth),
                },
            ),
        }
    }
}

impl Transport {
    fn tcp(&self) -> TcpHeader {
        let &Self::Tcp {
            ports,
            sequence,
            acknowledgement,
            flags,
            window,
            option_words,
        } = self
        else {
            return TcpHeader::default();
        };
        let mut header = TcpHeader::new(ports.0, ports.1, sequence, window);
        header.acknowledgment_number = acknowledgement;
        header.fin = flags & 0x01 != 0;
        header.syn = flags & 0x02 != 0;
        header.rst = flags & 0x04 != 0;
        header.psh = flags & 0x08 != 0;
        header.ack = flags & 0x10 != 0;
        header.urg = flags & 0x20 != 0;
        header.ece = flags & 0x40 != 0;
        header.cwr = flags & 0x80 != 0;
        header.set_options_raw(&vec![1; option_words * 4]).unwrap();
        header
    }
}
