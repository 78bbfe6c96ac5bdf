//! What frames are to be: the fields that go in, so that they can be compared with what comes out.

use proptest::{collection::vec, option, prelude::*};

/// What a frame is to be.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// VLAN identifiers, the outermost first: at most two.
    pub(crate) vlans: Vec<u16>,
    /// The IP header and what extends it.
    pub(crate) network: Network,
    /// The transport header.
    pub(crate) transport: Transport,
    /// Bytes of transport payload.
    pub(crate) payload: usize,
    /// Bytes of link-layer padding.
    pub(crate) padding: usize,
}

/// The network part of a [`Plan`].
#[derive(Debug, Clone)]
pub(crate) enum Network {
    /// IPv4.
    V4 {
        addresses: ([u8; 4], [u8; 4]),
        identification: u16,
        option_words: usize,
        authentication: Option<usize>,
    },
    /// IPv6; of each extension header its length beyond the least, in units of its own.
    V6 {
        addresses: ([u8; 16], [u8; 16]),
        hop_by_hop: Option<usize>,
        destination: Option<usize>,
        routing: Option<(usize, Option<usize>)>,
        atomic_fragment: Option<u32>,
        authentication: Option<usize>,
    },
}

/// The transport part of a [`Plan`].
#[derive(Debug, Clone)]
pub(crate) enum Transport {
    /// TCP.
    Tcp {
        ports: (u16, u16),
        sequence: u32,
        acknowledgement: u32,
        flags: u8,
        window: u16,
        option_words: usize,
    },
    /// UDP.
    Udp { ports: (u16, u16) },
    /// An echo request, or the reply to it.
    Echo { identifier: u16, reply: bool },
}

impl Plan {
    /// The same packet going back: addresses and ports exchanged, a request turned into a reply.
    pub(crate) fn reversed(&self) -> Self {
        let mut plan = self.clone();
        match &mut plan.network {
            Network::V4 {
                addresses: (a, b), ..
            } => std::mem::swap(a, b),
            Network::V6 {
                addresses: (a, b), ..
            } => std::mem::swap(a, b),
        }
        match &mut plan.transport {
            Transport::Tcp { ports: (a, b), .. } | Transport::Udp { ports: (a, b) } => {
                std::mem::swap(a, b);
            }
            Transport::Echo { reply, .. } => *reply = !*reply,
        }
        plan
    }
}

/// Any plan.
pub(crate) fn plans() -> impl Strategy<Value = Plan> {
    (
        vec(0..=4095u16, 0..=2),
        networks(),
        transports(),
        0..1500usize,
        0..47usize,
    )
        .prop_map(|(vlans, network, transport, payload, padding)| Plan {
            vlans,
            network,
            transport,
            payload,
            padding,
        })
}

fn networks() -> impl Strategy<Value = Network> {
    let v4 = (
        any::<[[u8; 4]; 2]>(),
        any::<u16>(),
        often_none(10),
        option::weighted(0.2, 1..8usize),
    )
        .prop_map(
            |([source, destination], identification, option_words, authentication)| Network::V4 {
                addresses: (source, destination),
                identification,
                option_words,
                authentication,
            },
        );
    let more = || option::weighted(0.3, 0..40usize);
    let v6 = (
        any::<[[u8; 16]; 2]>(),
        (more(), more(), option::weighted(0.2, (0..40usize, more()))),
        option::weighted(0.2, any::<u32>()),
        option::weighted(0.2, 1..8usize),
    )
        .prop_map(
            |(
                [source, destination],
                (hop_by_hop, options, routing),
                atomic_fragment,
                authentication,
            )| {
                Network::V6 {
                    addresses: (source, destination),
                    hop_by_hop,
                    destination: options,
                    routing,
                    atomic_fragment,
                    authentication,
                }
            },
        );
    prop_oneof![v4, v6]
}

/// From 0 to `most`, half of the time 0: the common packet is to be common here too.
fn often_none(most: usize) -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), 0..=most]
}

fn transports() -> impl Strategy<Value = Transport> {
    let tcp = (
        any::<(u16, u16)>(),
        any::<(u32, u32)>(),
        any::<u8>(),
        any::<u16>(),
        0..=10usize,
    )
        .prop_map(
            |(ports, (sequence, acknowledgement), flags, window, option_words)| Transport::Tcp {
                ports,
                sequence,
                acknowledgement,
                flags,
                window,
                option_words,
            },
        );
    let udp = any::<(u16, u16)>().prop_map(|ports| Transport::Udp { ports });
    let echo =
        any::<(u16, bool)>().prop_map(|(identifier, reply)| Transport::Echo { identifier, reply });
    prop_oneof![2 => tcp, 2 => udp, 1 => echo]
}
