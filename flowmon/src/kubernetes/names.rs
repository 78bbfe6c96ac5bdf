//! Who is who in a cluster: who has which address, and who is on this node.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    identity::{Known, clean},
    model::{EndpointKind, Identity, IdentitySource, NamedPort},
    policy::{
        Inventory,
        cluster::Holder,
        inventory::{Pod, PodId},
    },
};

/// Containers of a pod that are looked at.
const MOST_CONTAINERS: usize = 64;

/// Everybody's addresses.
#[derive(Debug, Default)]
pub(super) struct Names {
    claims: HashMap<IpAddr, Vec<Arc<Identity>>>,
    here: BTreeMap<PodId, Marks>,
}

/// By what a pod of this node is known to others.
#[derive(Debug)]
struct Marks {
    uid: Option<Arc<str>>,
    containers: Vec<Arc<str>>,
    since: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    metadata: Metadata,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    uid: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    start_time: Option<String>,
    container_statuses: Option<Vec<Container>>,
    init_container_statuses: Option<Vec<Container>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Container {
    #[serde(rename = "containerID")]
    id: Option<String>,
}

impl Names {
    /// A pod of this node, as the API says.
    pub(super) fn see(&mut self, id: &PodId, json: &RawValue) {
        let Ok(Raw { metadata, status }) = serde_json::from_str::<Raw>(json.get()) else {
            return;
        };
        let lists = [status.container_statuses, status.init_container_statuses];
        let containers = lists
            .iter()
            .flatten()
            .flatten()
            .take(MOST_CONTAINERS)
            // containerd://4d1f…
            .filter_map(|container| Some(clean(container.id.as_ref()?.split_once("://")?.1)));
        let marks = Marks {
            uid: metadata.uid.as_deref().map(clean),
            containers: containers.collect(),
            since: status.start_time.and_then(|time| time.parse().ok()),
        };
        self.here.insert(id.clone(), marks);
    }

    /// Takes in that somebody has changed who had these addresses. Returns who holds by now those, and
    /// those they have.
    pub(super) fn change(
        &mut self,
        inventory: &Inventory,
        changed: &BTreeMap<Holder, Vec<IpAddr>>,
    ) -> Vec<(IpAddr, Option<Arc<Identity>>)> {
        let mut touched = BTreeSet::new();
        for (holder, before) in changed {
            touched.extend(before);
            for address in before {
                self.drop(address, holder);
            }
            let Some((identity, addresses)) = identity(inventory, holder) else {
                continue;
            };
            let identity = Arc::new(identity);
            touched.extend(addresses);
            for address in addresses {
                self.drop(address, holder);
                let claims = self.claims.entry(*address).or_default();
                claims.reserve_exact(1);
                claims.push(Arc::clone(&identity));
            }
        }
        let held = touched.into_iter();
        held.map(|address| (address, self.holder(&address).cloned()))
            .collect()
    }

    fn drop(&mut self, address: &IpAddr, holder: &Holder) {
        if let Some(claims) = self.claims.get_mut(address) {
            claims.retain(|claim| !is(claim, holder));
            if claims.is_empty() {
                self.claims.remove(address);
            }
        }
    }

    /// An address that several pods claim is nobody's.
    fn holder(&self, address: &IpAddr) -> Option<&Arc<Identity>> {
        let claims = self.claims.get(address)?;
        let of = |kind| claims.iter().filter(move |claim| claim.kind == kind);
        match of(EndpointKind::Pod).count() {
            0 => of(EndpointKind::Service).chain(claims).next(),
            1 => of(EndpointKind::Pod).next(),
            _ => None,
        }
    }

    /// The pods of this node that are behind an interface of their own.
    pub(super) fn here(&mut self, inventory: &Inventory, node: &str) -> Vec<Known> {
        let is_here = |id: &PodId| {
            let pod = inventory.pods.get(id);
            pod.is_some_and(|pod| is_on(pod, node) && !pod.host_network)
        };
        self.here.retain(|id, _| is_here(id));
        let known = self.here.iter().filter_map(|(id, marks)| {
            let pod = inventory.pods.get(id)?;
            let (identity, addresses) = identity(inventory, &Holder::Pod(id.clone()))?;
            let mut known = Known::new(EndpointKind::Pod, IdentitySource::Kubernetes);
            known.identity = identity;
            let ports = pod.ports.iter().map(|port| NamedPort {
                name: clean(&port.name),
                protocol: port.protocol.number(),
                port: port.port,
            });
            known.identity.ports = ports.collect();
            known.identity.all_ports = true;
            known.addresses = addresses.to_vec();
            known.ids.clone_from(&marks.containers);
            known.pod_uid.clone_from(&marks.uid);
            known.since = marks.since;
            Some(known)
        });
        known.collect()
    }
}

pub(super) fn is_on(pod: &Pod, node: &str) -> bool {
    pod.node.as_deref() == Some(node)
}

fn is(claim: &Identity, holder: &Holder) -> bool {
    let is_called = |kind, id: &PodId| {
        claim.kind == kind
            && claim.name.as_ref() == Some(&id.name)
            && claim.namespace.as_ref() == Some(&id.namespace)
    };
    match holder {
        Holder::Pod(id) => is_called(EndpointKind::Pod, id),
        Holder::Service(id) => is_called(EndpointKind::Service, id),
        Holder::Node(name) => claim.kind == EndpointKind::Node && claim.name.as_ref() == Some(name),
    }
}

/// Who it is, and the addresses they have. Names and labels are such as the API server lets be.
fn identity<'a>(inventory: &'a Inventory, holder: &Holder) -> Option<(Identity, &'a [IpAddr])> {
    let nameless = |kind| {
        let mut identity = Identity::nameless(kind);
        identity.source = Some(IdentitySource::Kubernetes);
        identity
    };
    let called = |kind, id: &PodId| {
        let mut identity = nameless(kind);
        identity.namespace = Some(Arc::clone(&id.namespace));
        identity.name = Some(Arc::clone(&id.name));
        identity
    };
    match holder {
        Holder::Pod(id) => {
            let pod = inventory.pods.get(id)?;
            let mut identity = called(EndpointKind::Pod, id);
            identity.labels = Some(pod.labels.clone());
            Some((identity, pod.own()))
        }
        Holder::Service(id) => {
            let service = inventory.services.get(id)?;
            Some((called(EndpointKind::Service, id), &service.addresses))
        }
        Holder::Node(name) => {
            let node = inventory.nodes.get(name)?;
            let mut identity = nameless(EndpointKind::Node);
            identity.name = Some(Arc::clone(name));
            identity.labels = Some(node.labels.clone());
            Some((identity, &node.addresses))
        }
    }
}
