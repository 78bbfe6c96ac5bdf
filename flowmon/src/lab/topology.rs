//! A node, its bridge, and pods behind the bridge: what a container runtime makes, without one.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use tokio::time::timeout;

use super::{Error, Namespace};
use crate::netlink::{Configure, Veth};

/// How long an interface may take to carry frames. It takes milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The pod's end of its veth pair, as container runtimes name it.
pub(super) const POD_INTERFACE: &str = "eth0";

/// A locally administered address.
const BRIDGE_MAC: [u8; 6] = [0x02, 0x77, 0, 0, 0, 1];

/// Gateway addresses of a lab that was not told any.
const GATEWAYS: [IpNetwork; 2] = [
    match Ipv4Network::new_checked(Ipv4Addr::new(10, 77, 0, 1), 16) {
        Some(network) => IpNetwork::V4(network),
        None => unreachable!(),
    },
    match Ipv6Network::new_checked(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1), 64) {
        Some(network) => IpNetwork::V6(network),
        None => unreachable!(),
    },
];

/// A node's network namespace with a bridge in it.
///
/// Nobody in a lab speaks unasked, as far as Linux lets them: no router solicitations, no
/// link-local addresses, no duplicate address detection, and no IPv6 at all where there is no IPv6
/// gateway. What remains is ARP, neighbour discovery, and one multicast listener report (sent
/// twice) per IPv6 address when its interface comes up.
#[derive(Debug)]
pub struct Lab {
    node: Namespace,
    bridge: String,
    bridge_ifindex: u32,
    gateways: Vec<IpNetwork>,
}

/// A pod: a network namespace behind a port of the lab's bridge. Dropping it frees the namespace;
/// the port goes with it, a little later. [`Lab::remove_pod`] does it at once.
#[derive(Debug)]
pub struct Pod {
    /// The pod's name.
    pub name: String,
    /// Where the pod's processes would be.
    pub namespace: Namespace,
    /// Name of the veth on the node.
    pub interface: String,
    /// Index of that veth on the node.
    pub ifindex: u32,
    /// Addresses of the pod's `eth0`.
    pub addresses: Vec<IpNetwork>,
}

impl Lab {
    /// A lab of both address families: the bridge is `10.77.0.1/16` and `fd77::1/64`.
    pub fn new(bridge: &str) -> Result<Self, Error> {
        Self::with_gateways(bridge, &GATEWAYS)
    }

    /// A lab whose bridge has these addresses, at most one of each family; IPv6 is off without
    /// one of its own.
    pub fn with_gateways(bridge: &str, gateways: &[IpNetwork]) -> Result<Self, Error> {
        let node = Namespace::new("node")?;
        // The ports inherit "off": only the bridge has addresses.
        silence_ipv6(&node)?;
        let bridge_ifindex = node.block_on(async || -> Result<u32, Error> {
            Ok(Configure::open()?.create_bridge(bridge).await?)
        })??;
        if gateways.iter().any(IpNetwork::is_ipv6) {
            node.set_sysctl(&format!("net/ipv6/conf/{bridge}/disable_ipv6"), "0")?;
        }
        node.block_on(async || -> Result<(), Error> {
            let configure = Configure::open()?;
            // As CNI's bridge plugin does: a bridge without an address of its own takes one of its
            // ports', and another one when that port goes, which nobody is told.
            configure.set_mac(bridge_ifindex, BRIDGE_MAC).await?;
            configure.set_up(bridge_ifindex).await?;
            for &gateway in gateways {
                configure.add_address(bridge_ifindex, gateway).await?;
            }
            Ok(())
        })??;
        Ok(Self {
            node,
            bridge: bridge.into(),
            bridge_ifindex,
            gateways: gateways.into(),
        })
    }

    /// The node, where the bridge and the pods' veths are.
    pub fn node(&self) -> &Namespace {
        &self.node
    }

    /// The bridge's name.
    pub fn bridge(&self) -> &str {
        &self.bridge
    }

    /// The bridge's interface index.
    pub fn bridge_ifindex(&self) -> u32 {
        self.bridge_ifindex
    }

    /// The address that many after the first of each of the lab's networks: `10.77.0.2/16` and
    /// `fd77::2/64` for 2. Number 1 is the gateway's.
    pub fn host(&self, number: u16) -> Vec<IpNetwork> {
        let nth = |gateway: &IpNetwork| {
            let address = match gateway.network() {
                IpAddr::V4(first) => {
                    IpAddr::V4(u32::from(first).wrapping_add(number.into()).into())
                }
                IpAddr::V6(first) => {
                    IpAddr::V6(u128::from(first).wrapping_add(number.into()).into())
                }
            };
            IpNetwork::new(address, gateway.prefix()).ok()
        };
        self.gateways.iter().filter_map(nth).collect()
    }

    /// Adds a pod. The node's veth is named as container runtimes name theirs, `veth` and eight
    /// hexadecimal digits, always the same ones for the same pod name.
    pub fn add_pod(&self, name: &str, addresses: &[IpNetwork]) -> Result<Pod, Error> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let interface = format!("veth{:08x}", hasher.finish() >> 32);
        self.add_pod_at(name, &interface, addresses)
    }

    /// Adds a pod behind a veth of this name. It can be reached when this returns.
    pub fn add_pod_at(
        &self,
        name: &str,
        interface: &str,
        addresses: &[IpNetwork],
    ) -> Result<Pod, Error> {
        self.add_pod_as(name, interface, None, addresses)
    }

    /// As [`Self::add_pod_at`], with a say in the veth's interface index.
    pub fn add_pod_as(
        &self,
        name: &str,
        interface: &str,
        ifindex: Option<u32>,
        addresses: &[IpNetwork],
    ) -> Result<Pod, Error> {
        let namespace = Namespace::new(name)?;
        silence_ipv6(&namespace)?;
        if addresses.iter().any(IpNetwork::is_ipv6) {
            namespace.set_sysctl("net/ipv6/conf/default/disable_ipv6", "0")?;
        }
        let ifindex = self
            .node
            .block_on(async || self.plug_in(interface, ifindex, &namespace).await)??;
        namespace.block_on(async || self.configure_pod(addresses).await)??;
        let ready = self.node.block_on(async || -> Result<_, Error> {
            let configure = Configure::open()?;
            let ready = timeout(PATIENCE, configure.carries_frames(ifindex)).await;
            ready.map_err(|_| Error::NotReady(interface.into()))
        })??;
        ready?;
        Ok(Pod {
            name: name.into(),
            namespace,
            interface: interface.into(),
            ifindex,
            addresses: addresses.into(),
        })
    }

    /// Removes a pod and its port.
    pub fn remove_pod(&self, pod: Pod) -> Result<(), Error> {
        // The namespace would take the port along, but some time after it went.
        let delete = async || Ok(Configure::open()?.delete(pod.ifindex).await?);
        let deleted = self.node.block_on(delete)?;
        drop(pod);
        deleted
    }

    async fn plug_in(
        &self,
        interface: &str,
        ifindex: Option<u32>,
        namespace: &Namespace,
    ) -> Result<u32, Error> {
        let configure = Configure::open()?;
        let veth = Veth {
            name: interface,
            ifindex,
            peer: POD_INTERFACE,
            peer_netns: Some(namespace.fd()),
        };
        let ifindex = configure.create_veth(&veth).await?;
        configure
            .set_master(ifindex, Some(self.bridge_ifindex))
            .await?;
        configure.set_up(ifindex).await?;
        Ok(ifindex)
    }

    async fn configure_pod(&self, addresses: &[IpNetwork]) -> Result<(), Error> {
        let configure = Configure::open()?;
        let ifindex = configure.ifindex_of(POD_INTERFACE).await?;
        for &address in addresses {
            configure.add_address(ifindex, address).await?;
        }
        configure.set_up(ifindex).await?;
        for gateway in &self.gateways {
            if addresses
                .iter()
                .any(|address| address.contains(gateway.ip()))
            {
                configure.add_default_route(gateway.ip()).await?;
            }
        }
        Ok(())
    }
}

impl Pod {
    /// The pod's first IPv4 address.
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        self.addresses.iter().find_map(|address| match address {
            IpNetwork::V4(address) => Some(address.ip()),
            IpNetwork::V6(_) => None,
        })
    }

    /// The pod's first IPv6 address.
    pub fn ipv6(&self) -> Option<Ipv6Addr> {
        self.addresses.iter().find_map(|address| match address {
            IpNetwork::V4(_) => None,
            IpNetwork::V6(address) => Some(address.ip()),
        })
    }
}

/// Has the interfaces that are made from now on do nothing about IPv6 on their own, and not speak
/// it at all unless told to.
pub(super) fn silence_ipv6(namespace: &Namespace) -> Result<(), Error> {
    const IN6_ADDR_GEN_MODE_NONE: &str = "1"; // <linux/if_link.h>
    if !Path::new("/proc/sys/net/ipv6").exists() {
        return Ok(()); // a kernel without IPv6
    }
    for (setting, value) in [
        ("disable_ipv6", "1"),
        ("accept_ra", "0"),
        ("router_solicitations", "0"),
        ("addr_gen_mode", IN6_ADDR_GEN_MODE_NONE),
        // The second report follows the first at once, before any traffic.
        ("mldv2_unsolicited_report_interval", "0"),
    ] {
        namespace.set_sysctl(&format!("net/ipv6/conf/default/{setting}"), value)?;
    }
    Ok(())
}
