//! A network interface as the kernel describes it.

/// One interface of the network namespace flowmon runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Interface index; unique in its namespace while the interface lives there.
    pub ifindex: u32,
    /// Name as the kernel has it: any bytes but `/` and white space, so escape it before printing.
    pub name: String,
    /// `IFLA_INFO_KIND`: `veth`, `bridge`, `tun`, …; absent for hardware and loopback.
    pub kind: Option<String>,
    /// Interface index of the bridge, bond or VRF this one is a port of (`IFLA_MASTER`).
    pub master: Option<u32>,
    /// What a frame on this interface starts with.
    pub link_layer: LinkLayer,
    /// Administratively up (`IFF_UP`).
    pub up: bool,
    /// The other end of a veth pair.
    pub peer: Option<Peer>,
    /// The kernel's own counters at the time of the message.
    pub counters: InterfaceCounters,
}

/// The other end of a veth pair (`IFLA_LINK` and `IFLA_LINK_NETNSID`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Interface index in the peer's own namespace: not unique on the host.
    pub ifindex: u32,
    /// This namespace's id for the peer's namespace; absent when both ends share one.
    pub netnsid: Option<i32>,
}

/// What a frame starts with (`ARPHRD_*` of `<linux/if_arp.h>`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkLayer {
    /// An Ethernet header (`ARPHRD_ETHER`, `ARPHRD_LOOPBACK`).
    Ethernet,
    /// The IP header itself (`ARPHRD_NONE`, `ARPHRD_RAWIP`, `ARPHRD_TUNNEL`, …: tun, `WireGuard`, ipip).
    Ip,
    /// Something flowmon can't read (InfiniBand, IEEE 802.15.4, …), by its `ARPHRD_` number.
    Other(u16),
}

/// `rtnl_link_stats64`, the four counters flowmon compares with.
///
/// On veth these count socket buffers, not wire packets: a GSO super-packet is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InterfaceCounters {
    /// Socket buffers received by this interface.
    pub rx_packets: u64,
    /// Bytes received, with the link-layer header.
    pub rx_bytes: u64,
    /// Socket buffers sent by this interface.
    pub tx_packets: u64,
    /// Bytes sent, with the link-layer header.
    pub tx_bytes: u64,
}

impl Interface {
    /// Is the endpoint the one *behind* this interface, so that what comes in here is what the
    /// endpoint sent? True for the host's end of a container's or virtual machine's attachment;
    /// anything else is an interface of this host's own.
    pub fn leads_to_endpoint(&self) -> bool {
        match self.kind.as_deref() {
            Some("veth" | "netkit") => true,
            // A tap carries Ethernet (a virtual machine); a tun is this host's own VPN.
            Some("tun") => self.link_layer == LinkLayer::Ethernet,
            _ => false,
        }
    }

    /// A bridge is watched through its ports: the bridge device itself does not see traffic
    /// between two of them.
    pub fn is_bridge(&self) -> bool {
        self.kind.as_deref() == Some("bridge")
    }
}
