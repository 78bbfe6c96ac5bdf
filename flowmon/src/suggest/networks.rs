//! Addresses outside the cluster, put together to networks.

use std::{collections::BTreeSet, net::IpAddr};

use ipnetwork::IpNetwork;

use crate::policy::Inventory;

/// Neighbours become one network if there are so many of them,
const ENOUGH: usize = 4;
/// and none larger than this: what one holder usually has at least.
const LARGEST: (u8, u8) = (24, 64);

/// What belongs to the cluster and must not be let in beside those outside.
#[derive(Debug)]
pub(super) struct Inside {
    addresses: BTreeSet<IpAddr>,
    networks: Vec<IpNetwork>,
}

impl Inside {
    pub(super) fn new(inventory: &Inventory) -> Self {
        let pods = inventory.pods.values();
        let pods = pods.flat_map(|pod| pod.addresses.iter().chain(&pod.host_addresses));
        let nodes = inventory.nodes.values().flat_map(|node| &node.addresses);
        let services = inventory.services.values();
        let services = services.flat_map(|service| &service.addresses);
        let networks = inventory.nodes.values().flat_map(|node| &node.pod_networks);
        Self {
            addresses: pods.chain(nodes).chain(services).copied().collect(),
            networks: networks.copied().collect(),
        }
    }

    fn meets(&self, network: IpNetwork) -> bool {
        let mut between = self
            .addresses
            .range(network.network()..=network.broadcast());
        between.next().is_some()
            || self.networks.iter().any(|inside| {
                inside.contains(network.network()) || network.contains(inside.network())
            })
    }
}

/// Networks that these addresses are in, and as little else as is sensible.
pub(super) fn networks(addresses: &BTreeSet<IpAddr>, inside: &Inside) -> Vec<IpNetwork> {
    let all: Vec<IpAddr> = addresses.iter().copied().collect();
    let neighbours = all.chunk_by(|one, next| {
        let around = around(*one);
        around.is_some_and(|around| around.contains(*next))
    });
    neighbours
        .flat_map(|neighbours| match smallest(neighbours) {
            Some(network) if neighbours.len() >= ENOUGH && !inside.meets(network) => vec![network],
            _ => neighbours.iter().map(|it| IpNetwork::from(*it)).collect(),
        })
        .collect()
}

/// The largest network that an address may be put into.
fn around(address: IpAddr) -> Option<IpNetwork> {
    let prefix = if address.is_ipv4() {
        LARGEST.0
    } else {
        LARGEST.1
    };
    IpNetwork::new(address, prefix).ok()
}

/// The smallest network that has all of these, in their order.
fn smallest(addresses: &[IpAddr]) -> Option<IpNetwork> {
    let (first, last) = (addresses.first()?, addresses.last()?);
    let bits = if first.is_ipv4() { 32 } else { 128 };
    let mut prefixes = (0..=bits).rev();
    let network = prefixes.find_map(|prefix| {
        let network = IpNetwork::new(*first, prefix).ok()?;
        network.contains(*last).then_some(network)
    })?;
    IpNetwork::new(network.network(), network.prefix()).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;
    use crate::policy::inventory::Node;

    fn of(addresses: &[&str], nodes: &[&str]) -> Vec<String> {
        let mut inventory = Inventory::default();
        for name in nodes {
            let node = Node {
                addresses: name.parse().into_iter().collect(),
                pod_networks: name
                    .parse()
                    .into_iter()
                    .filter(|_| name.contains('/'))
                    .collect(),
                ..Node::default()
            };
            inventory.nodes.insert((*name).into(), node);
        }
        let addresses = addresses.iter().map(|it| it.parse().unwrap()).collect();
        let found = networks(&addresses, &Inside::new(&inventory));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn neighbours_become_the_smallest_network_and_few_stay_themselves() {
        let four = ["192.0.2.9", "192.0.2.10", "192.0.2.12", "192.0.2.14"];
        assert_eq!(of(&four, &[]), ["192.0.2.8/29"]);
        let three = of(&four[..3], &[]);
        assert_eq!(three, ["192.0.2.9/32", "192.0.2.10/32", "192.0.2.12/32"]);
        let far = [
            "192.0.2.1",
            "192.0.2.254",
            "192.0.2.2",
            "192.0.2.3",
            "192.0.3.1",
        ];
        assert_eq!(of(&far, &[]), ["192.0.2.0/24", "192.0.3.1/32"]);
        let six = [
            "2001:db8::1",
            "2001:db8::2",
            "2001:db8::3",
            "2001:db8::ffff",
        ];
        assert_eq!(of(&six, &[]), ["2001:db8::/112"]);
        let apart = [
            "2001:db8:0:1::1",
            "2001:db8:0:2::1",
            "2001:db8:0:3::1",
            "2001:db8:0:4::1",
        ];
        assert_eq!(of(&apart, &[]).len(), 4);
        assert_eq!(of(&["::1", "10.0.0.1"], &[]), ["10.0.0.1/32", "::1/128"]);
    }

    #[test]
    fn no_network_has_anybody_of_the_cluster() {
        let four = ["192.0.2.9", "192.0.2.10", "192.0.2.12", "192.0.2.14"];
        for node in ["192.0.2.11", "192.0.2.0/24", "192.0.2.14/32"] {
            assert_eq!(of(&four, &[node]).len(), 4, "{node}");
        }
        assert_eq!(of(&four, &["192.0.2.16", "192.0.3.0/24"]).len(), 1);
    }
}
