//! `RTM_NEWLINK` in the words of the model. Nothing here talks to the kernel.

use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{
    LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, Stats64,
};

use crate::model::{Interface, InterfaceCounters, LinkLayer, Peer};

/// Is the message about the interface itself?
///
/// A bridge speaks of its ports with the same message types and family `AF_BRIDGE`; there
/// `RTM_DELLINK` means "left the bridge" (`br_ifinfo_notify` in `net/bridge/br_netlink.c`).
pub(super) fn is_about_interface(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

/// Index of the interface that a message is about, however little of it can be read; 0 if not even
/// that. It is in `struct ifinfomsg`, behind `struct nlmsghdr`.
pub(super) fn ifindex(message: &[u8]) -> u32 {
    let index = message.get(20..24).and_then(|bytes| bytes.first_chunk());
    index.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

/// The interface's name; empty when the kernel did not send one.
pub(super) fn name(message: &LinkMessage) -> String {
    let name = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        });
    name.unwrap_or_default()
}

/// The interface a message describes. Every attribute may be missing.
pub(super) fn interface(message: &LinkMessage) -> Interface {
    let mut kind = None;
    let mut master = None;
    let mut link = None;
    let mut netnsid = None;
    let mut counters = InterfaceCounters::default();
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::LinkInfo(infos) => kind = info_kind(infos),
            LinkAttribute::Controller(ifindex) => master = some_ifindex(*ifindex),
            LinkAttribute::Link(ifindex) => link = some_ifindex(*ifindex),
            LinkAttribute::LinkNetNsId(id) => netnsid = Some(*id),
            LinkAttribute::Stats64(stats) => counters = interface_counters(stats),
            _ => {}
        }
    }
    // `IFLA_LINK` of other kinds is the device below (VLAN, macvlan) or the interface itself.
    let paired = matches!(kind.as_deref(), Some("veth" | "netkit"));
    let peer = link
        .filter(|_| paired)
        .map(|ifindex| Peer { ifindex, netnsid });
    Interface {
        ifindex: message.header.index,
        name: name(message),
        kind,
        master,
        link_layer: link_layer(message.header.link_layer_type),
        up: message.header.flags.contains(LinkFlags::Up),
        peer,
        counters,
    }
}

fn info_kind(infos: &[LinkInfo]) -> Option<String> {
    infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    })
}

/// The kernel writes "none" as 0 where it does not leave the attribute out.
fn some_ifindex(ifindex: u32) -> Option<u32> {
    Some(ifindex).filter(|&ifindex| ifindex != 0)
}

fn interface_counters(stats: &Stats64) -> InterfaceCounters {
    InterfaceCounters {
        rx_packets: stats.rx_packets,
        rx_bytes: stats.rx_bytes,
        tx_packets: stats.tx_packets,
        tx_bytes: stats.tx_bytes,
    }
}

fn link_layer(layer: LinkLayerType) -> LinkLayer {
    match layer {
        LinkLayerType::Ether | LinkLayerType::Loopback => LinkLayer::Ethernet,
        LinkLayerType::None
        | LinkLayerType::Rawip
        | LinkLayerType::Ppp
        | LinkLayerType::Tunnel
        | LinkLayerType::Tunnel6
        | LinkLayerType::Sit
        | LinkLayerType::Ipgre
        | LinkLayerType::Ip6gre => LinkLayer::Ip,
        other => LinkLayer::Other(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::InfoKind;

    use super::*;

    fn link_message(attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.header.link_layer_type = LinkLayerType::Ether;
        message.attributes = attributes;
        message
    }

    #[test]
    fn a_bridge_port_with_its_peer_elsewhere() {
        let mut stats = Stats64::default();
        (stats.rx_packets, stats.rx_bytes) = (1, 60);
        (stats.tx_packets, stats.tx_bytes) = (2, 120);
        let mut message = link_message(vec![
            LinkAttribute::IfName("veth1".into()),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]),
            LinkAttribute::Controller(3),
            LinkAttribute::Link(2),
            LinkAttribute::LinkNetNsId(0),
            LinkAttribute::Stats64(stats),
        ]);
        message.header.flags = LinkFlags::Up;
        let expected = Interface {
            ifindex: 7,
            name: "veth1".into(),
            kind: Some("veth".into()),
            master: Some(3),
            link_layer: LinkLayer::Ethernet,
            up: true,
            peer: Some(Peer {
                ifindex: 2,
                netnsid: Some(0),
            }),
            counters: InterfaceCounters {
                rx_packets: 1,
                rx_bytes: 60,
                tx_packets: 2,
                tx_bytes: 120,
            },
        };
        assert_eq!(interface(&message), expected);
    }

    #[test]
    fn nothing_is_assumed_of_a_bare_message() {
        let expected = Interface {
            ifindex: 7,
            name: String::new(),
            kind: None,
            master: None,
            link_layer: LinkLayer::Ethernet,
            up: false,
            peer: None,
            counters: InterfaceCounters::default(),
        };
        assert_eq!(interface(&link_message(vec![])), expected);
    }

    #[test]
    fn the_device_below_a_vlan_is_not_a_peer() {
        let vlan = interface(&link_message(vec![
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan)]),
            LinkAttribute::Link(2),
            LinkAttribute::Controller(0),
        ]));
        assert_eq!((vlan.peer, vlan.master), (None, None));
    }

    #[test]
    fn link_layers_by_what_a_frame_starts_with() {
        assert_eq!(link_layer(LinkLayerType::Loopback), LinkLayer::Ethernet);
        assert_eq!(link_layer(LinkLayerType::None), LinkLayer::Ip);
        assert_eq!(link_layer(LinkLayerType::Infiniband), LinkLayer::Other(32));
    }

    #[test]
    fn a_port_leaving_its_bridge_is_not_about_the_interface() {
        let mut message = link_message(vec![]);
        assert!(is_about_interface(&message));
        message.header.interface_family = AddressFamily::Bridge;
        assert!(!is_about_interface(&message));
    }
}
