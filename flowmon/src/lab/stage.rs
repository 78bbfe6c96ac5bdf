//! Several nodes with their pods, and others outside, behind one router: everybody with addresses of
//! any kind, and everybody able to reach everybody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use tokio::time::timeout;

use super::topology::{PATIENCE, POD_INTERFACE, silence_ipv6};
use super::{Error, Lab, Namespace, Pod};
use crate::netlink::{Configure, Veth};

/// The bridge of each node, named as CNI's bridge plugin names it.
const BRIDGE: &str = "cni0";
/// A node's end of its way to the router.
const UPLINK: &str = "uplink";
/// Indices of interfaces begin here, above those that the kernel gives, and are given once on a stage:
/// who watches several of its namespaces can tell interfaces by their index.
const FIRST_IFINDEX: u32 = 1000;

/// Who is at the end of a link that leads to somebody: bridges to pods, the router to all others. As
/// with Calico, the address is of no network that anybody has, and the same everywhere.
const NEAR: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 255, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
];
/// The router's end towards nodes, which have [`NEAR`] themselves.
const ROUTER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 255, 2)),
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2)),
];
/// A node's end towards the router.
const NODE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 255, 3)),
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 3)),
];

/// Who is to be on a stage. Names are for messages only; no two may have one address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Nodes, with the pods on each.
    pub nodes: Vec<(Party, Vec<Party>)>,
    /// Everybody else.
    pub outside: Vec<Party>,
}

/// Somebody with addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Party {
    /// What messages call it.
    pub name: String,
    /// Its addresses: [`is_fit`] each.
    pub addresses: Vec<IpAddr>,
}

/// Nodes, pods and others, in the order of the [`Plan`].
///
/// Like a [`Lab`] it goes with this process, however that ends.
#[derive(Debug)]
pub struct Stage {
    /// Nodes, with the pods on each.
    pub nodes: Vec<(Lab, Vec<Pod>)>,
    /// Everybody else.
    pub outside: Vec<Namespace>,
    router: Namespace,
    ifindex: u32,
}

/// Can somebody on a stage have this address? Not what is no unicast address, or means another
/// machine on each link (loopback, IPv6's link-local), or is the stage's own.
pub fn is_fit(address: IpAddr) -> bool {
    let is_own = [NEAR, ROUTER, NODE].as_flattened().contains(&address);
    let is_special = match address {
        IpAddr::V4(v4) => v4.is_broadcast() || v4.octets().first() == Some(&0),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
    };
    let is_nobody = address.is_loopback() || address.is_multicast() || address.is_unspecified();
    !(is_own || is_special || is_nobody)
}

impl Stage {
    /// Builds it, which needs root.
    ///
    /// # Errors
    /// What the kernel refuses, an address that is not [`is_fit`] among it.
    pub fn new(plan: &Plan) -> Result<Self, Error> {
        let router = Namespace::new("router")?;
        silence_ipv6(&router)?;
        forward(&router, &["all", "default"])?;
        let mut stage = Self {
            nodes: Vec::with_capacity(plan.nodes.len()),
            outside: Vec::with_capacity(plan.outside.len()),
            router,
            ifindex: FIRST_IFINDEX,
        };
        for (party, pods) in &plan.nodes {
            stage.add_node(party, pods)?;
        }
        for party in &plan.outside {
            stage.add_outside(party)?;
        }
        Ok(stage)
    }

    fn add_outside(&mut self, party: &Party) -> Result<(), Error> {
        let namespace = Namespace::new(&*party.name)?;
        silence_ipv6(&namespace)?;
        let way = Way {
            interface: POD_INTERFACE,
            near: NEAR,
            far: &party.addresses,
            gateway: None,
        };
        self.lead_to(&namespace, &way, &party.addresses)?;
        self.outside.push(namespace);
        Ok(())
    }

    fn add_node(&mut self, party: &Party, pods: &[Party]) -> Result<(), Error> {
        let lab = Lab::with_gateways(BRIDGE, &hosts(&NEAR).collect::<Vec<_>>())?;
        forward(lab.node(), &["all", "default", BRIDGE])?;
        let far: Vec<IpAddr> = NODE.iter().chain(&party.addresses).copied().collect();
        let way = Way {
            interface: UPLINK,
            near: ROUTER,
            far: &far,
            gateway: Some(NODE),
        };
        let all = pods.iter().chain([party]).flat_map(|it| &it.addresses);
        self.lead_to(lab.node(), &way, &all.copied().collect::<Vec<_>>())?;
        let pods = pods.iter().map(|pod| self.add_pod(&lab, pod));
        let pods = pods.collect::<Result<Vec<_>, _>>()?;
        self.nodes.push((lab, pods));
        Ok(())
    }

    fn add_pod(&mut self, lab: &Lab, party: &Party) -> Result<Pod, Error> {
        let ifindex = self.next();
        let addresses: Vec<IpNetwork> = hosts(&party.addresses).collect();
        let interface = format!("veth{ifindex:08x}");
        let pod = lab.add_pod_as(&party.name, &interface, Some(ifindex), &addresses)?;
        pod.namespace.block_on(async || -> Result<(), Error> {
            let configure = Configure::open()?;
            let ifindex = configure.ifindex_of(POD_INTERFACE).await?;
            default_routes(&configure, ifindex, NEAR, &party.addresses).await
        })??;
        let bridge = lab.bridge_ifindex();
        lab.node().block_on(async || -> Result<(), Error> {
            let configure = Configure::open()?;
            for &address in &addresses {
                configure.add_route(address, bridge, None).await?;
            }
            Ok(())
        })??;
        Ok(pod)
    }

    /// A way from the router to a namespace, and so to these addresses.
    fn lead_to(
        &mut self,
        namespace: &Namespace,
        way: &Way<'_>,
        addresses: &[IpAddr],
    ) -> Result<(), Error> {
        enable_ipv6(namespace)?;
        let ifindex = self.next();
        let name = format!("veth{ifindex:08x}");
        self.router.block_on(async || -> Result<(), Error> {
            let configure = Configure::open()?;
            let veth = Veth {
                name: &name,
                ifindex: Some(ifindex),
                peer: way.interface,
                peer_netns: Some(namespace.fd()),
            };
            configure.create_veth(&veth).await?;
            for address in hosts(&way.near) {
                configure.add_address(ifindex, address).await?;
            }
            Ok(configure.set_up(ifindex).await?)
        })??;
        namespace.block_on(async || -> Result<(), Error> {
            let configure = Configure::open()?;
            let ifindex = configure.ifindex_of(way.interface).await?;
            for address in hosts(way.far) {
                configure.add_address(ifindex, address).await?;
            }
            configure.set_up(ifindex).await?;
            default_routes(&configure, ifindex, way.near, way.far).await
        })??;
        self.router.block_on(async || -> Result<(), Error> {
            let configure = Configure::open()?;
            for address in hosts(addresses) {
                let gateway = way.gateway.map(|both| of_family(both, address.ip()));
                configure.add_route(address, ifindex, gateway).await?;
            }
            let ready = timeout(PATIENCE, configure.carries_frames(ifindex)).await;
            Ok(ready.map_err(|_| Error::NotReady(name.clone()))??)
        })?
    }

    const fn next(&mut self) -> u32 {
        self.ifindex += 1;
        self.ifindex
    }
}

/// How a namespace is reached from the router.
struct Way<'a> {
    /// What the namespace calls its end.
    interface: &'a str,
    /// The router's addresses there.
    near: [IpAddr; 2],
    /// The namespace's.
    far: &'a [IpAddr],
    /// Whom the router sends to; nobody where the addresses are that end's own.
    gateway: Option<[IpAddr; 2]>,
}

/// Everything goes to this gateway, of the families that there are addresses of.
async fn default_routes(
    configure: &Configure,
    ifindex: u32,
    gateway: [IpAddr; 2],
    addresses: &[IpAddr],
) -> Result<(), Error> {
    for gateway in gateway {
        if addresses.iter().any(|it| it.is_ipv4() == gateway.is_ipv4()) {
            let all = if gateway.is_ipv4() {
                IpNetwork::new(Ipv4Addr::UNSPECIFIED.into(), 0)
            } else {
                IpNetwork::new(Ipv6Addr::UNSPECIFIED.into(), 0)
            };
            if let Ok(all) = all {
                configure.add_route(all, ifindex, Some(gateway)).await?;
            }
        }
    }
    Ok(())
}

/// Packets of others are sent on, and nobody is told of a shorter way.
fn forward(namespace: &Namespace, interfaces: &[&str]) -> Result<(), Error> {
    enable_ipv6(namespace)?;
    namespace.set_sysctl("net/ipv4/ip_forward", "1")?;
    for interface in interfaces {
        namespace.set_sysctl(&format!("net/ipv4/conf/{interface}/send_redirects"), "0")?;
    }
    namespace.set_sysctl("net/ipv6/conf/all/forwarding", "1")
}

/// On interfaces that are made from here on.
fn enable_ipv6(namespace: &Namespace) -> Result<(), Error> {
    namespace.set_sysctl("net/ipv6/conf/default/disable_ipv6", "0")
}

const fn of_family(both: [IpAddr; 2], family: IpAddr) -> IpAddr {
    let [v4, v6] = both;
    if family.is_ipv4() { v4 } else { v6 }
}

fn hosts(addresses: &[IpAddr]) -> impl Iterator<Item = IpNetwork> {
    addresses.iter().copied().map(IpNetwork::from)
}
