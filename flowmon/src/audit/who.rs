//! Who is who, for grouping and telling; judging has its own way.

use std::{collections::HashMap, fmt, net::IpAddr, sync::Arc};

use super::End;
use crate::{
    model::{EndpointKind, Someone},
    policy::{Inventory, inventory::PodId},
};

/// One end of a flow, by the best name it has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Party {
    /// A pod.
    Pod(PodId),
    /// A service, by the address it has itself.
    Service(PodId),
    /// A node, or a pod that uses its node's network.
    Node(Arc<str>),
    /// Something with a name that is no pod's: a container, a network namespace.
    Named(Arc<str>),
    /// No more is known.
    Address(IpAddr),
}

impl fmt::Display for Party {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(id) => write!(out, "{}/{}", id.namespace, id.name),
            Self::Service(id) => write!(out, "service {}/{}", id.namespace, id.name),
            Self::Node(name) => write!(out, "node {name}"),
            Self::Named(name) => out.write_str(name),
            Self::Address(address) => address.fmt(out),
        }
    }
}

impl From<Party> for Someone {
    fn from(party: Party) -> Self {
        let nobody = Self {
            kind: EndpointKind::Unknown,
            namespace: None,
            name: None,
            ip: None,
        };
        let named = |kind, name| Self {
            kind,
            name: Some(name),
            ..nobody.clone()
        };
        let in_namespace = |kind, id: PodId| Self {
            namespace: Some(id.namespace),
            ..named(kind, id.name)
        };
        match party {
            Party::Pod(id) => in_namespace(EndpointKind::Pod, id),
            Party::Service(id) => in_namespace(EndpointKind::Service, id),
            Party::Node(name) => named(EndpointKind::Node, name),
            Party::Named(name) => named(EndpointKind::Container, name),
            Party::Address(address) => Self {
                ip: Some(address),
                ..nobody
            },
        }
    }
}

/// The inventory, by address.
#[derive(Debug, Default)]
pub struct Who {
    addresses: HashMap<IpAddr, Party>,
}

impl Who {
    /// Of these. An address that several claim is nobody's.
    pub fn new(inventory: &Inventory) -> Self {
        let pods = inventory.pods.iter().flat_map(|(id, pod)| {
            let party = match &pod.node {
                Some(node) if pod.host_network => Party::Node(Arc::clone(node)),
                _ => Party::Pod(id.clone()),
            };
            let addresses = pod.addresses.iter();
            addresses.map(move |address| (*address, party.clone()))
        });
        let nodes = inventory.nodes.iter().flat_map(|(name, node)| {
            let party = Party::Node(Arc::clone(name));
            let addresses = node.addresses.iter();
            addresses.map(move |address| (*address, party.clone()))
        });
        let services = inventory.services.iter().flat_map(|(id, service)| {
            let addresses = service.addresses.iter();
            addresses.map(|address| (*address, Party::Service(id.clone())))
        });
        let mut addresses: HashMap<IpAddr, Option<Party>> = HashMap::new();
        for (address, party) in pods.chain(nodes).chain(services) {
            let known = addresses
                .entry(address.to_canonical())
                .or_insert_with(|| Some(party.clone()));
            if known.as_ref().is_some_and(|known| *known != party) {
                *known = None;
            }
        }
        let claimed_once = |(address, party): (IpAddr, Option<Party>)| Some((address, party?));
        Self {
            addresses: addresses.into_iter().filter_map(claimed_once).collect(),
        }
    }

    /// Who this end is.
    pub fn is(&self, end: &End) -> Party {
        if let Some(pod) = &end.pod {
            return Party::Pod(pod.clone());
        }
        let listed = self.addresses.get(&end.address).cloned();
        let named = || end.name.clone().map(Party::Named);
        let known = listed.or_else(named);
        known.unwrap_or(Party::Address(end.address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::inventory::{Node, Pod, Service};

    fn id(name: &str) -> PodId {
        PodId {
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 1, 0, last])
    }

    fn pod(last: u8, host_network: bool) -> Pod {
        Pod {
            addresses: vec![address(last)],
            node: Some("worker".into()),
            host_network,
            ..Pod::default()
        }
    }

    fn end(last: u8) -> End {
        End {
            address: address(last),
            port: None,
            pod: None,
            name: None,
        }
    }

    #[test]
    fn by_the_record_then_by_the_inventory_then_by_address() {
        let mut inventory = Inventory::default();
        for (name, pod) in [
            ("cart", pod(1, false)),
            ("proxy", pod(9, true)),
            ("one", pod(5, false)),
            ("two", pod(5, false)),
        ] {
            inventory.pods.insert(id(name), pod);
        }
        let node = Node {
            addresses: vec![address(9)],
            ..Node::default()
        };
        inventory.nodes.insert("worker".into(), node);
        let service = Service {
            addresses: vec![address(100)],
            ..Service::default()
        };
        inventory.services.insert(id("redis"), service);
        let who = Who::new(&inventory);

        let named = End {
            pod: Some(id("other")),
            ..end(1)
        };
        let container = End {
            name: Some("web".into()),
            ..end(7)
        };
        for (end, expected) in [
            (named, "shop/other"),
            (container, "web"),
            (end(1), "shop/cart"),
            (end(9), "node worker"),
            (end(100), "service shop/redis"),
            (end(5), "10.1.0.5"), // two claim it
            (end(77), "10.1.0.77"),
        ] {
            assert_eq!(who.is(&end).to_string(), expected);
        }
    }
}
