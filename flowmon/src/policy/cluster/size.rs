//! How much of an object is kept, and whether the API server would have let it be so.

use std::{mem::size_of, net::IpAddr, sync::Arc};

use crate::policy::{
    Labels,
    cluster::ObjectId,
    document,
    inventory::{Item, NamedPort, Node, Pod, Service, Slice, TargetPort},
};

/// What something takes in memory, roughly, in bytes.
pub(super) trait Size {
    fn size(&self) -> usize;
}

/// Names are not longer (RFC 1123).
const LONGEST: usize = 253;
/// What the allocator and the map around it take.
const AROUND: usize = 64;

impl Size for Arc<str> {
    fn size(&self) -> usize {
        self.len() + AROUND
    }
}

impl Size for Labels {
    fn size(&self) -> usize {
        let labels = self.iter().map(|(key, value)| key.size() + value.size());
        labels.sum::<usize>() + AROUND
    }
}

impl Size for Pod {
    fn size(&self) -> usize {
        let owner = self.owner.as_ref();
        size_of::<Self>()
            + self.labels.size()
            + owner.map_or(0, |owner| owner.kind.size() + owner.name.size())
            + (self.addresses.len() + self.host_addresses.len()) * size_of::<IpAddr>()
            + self.ports.iter().map(Size::size).sum::<usize>()
    }
}

impl Size for NamedPort {
    fn size(&self) -> usize {
        size_of::<Self>() + self.name.size()
    }
}

impl Size for Node {
    fn size(&self) -> usize {
        size_of::<Self>() + self.labels.size() + self.addresses.len() * size_of::<IpAddr>()
    }
}

impl Size for Service {
    fn size(&self) -> usize {
        size_of::<Self>()
            + self.selector.as_ref().map_or(0, Size::size)
            + self.addresses.len() * size_of::<IpAddr>()
            + self.ports.len() * (AROUND + AROUND)
    }
}

impl Size for Slice {
    fn size(&self) -> usize {
        size_of::<Self>() + self.backends.len() * (AROUND + AROUND)
    }
}

/// The API server would not have taken what this refuses.
pub(super) fn check(item: &Item, id: &ObjectId) -> Result<(), String> {
    let (namespace, name) = match item {
        Item::Namespace(name, _) | Item::Node(name, _) => ("", &**name),
        Item::Pod(id, _) | Item::Service(id, _) | Item::Slice(id, _) => (&*id.namespace, &*id.name),
        Item::Endpoints(..) | Item::NoServices | Item::Other => return Ok(()),
    };
    let is_namespace = namespace.is_empty() || document::is_namespace(namespace);
    if (namespace, name) != (&*id.namespace, &*id.name) || !is_namespace || !document::is_name(name)
    {
        return Err("its name is none".to_owned());
    }
    let labels = match item {
        Item::Namespace(_, labels) => Some(labels),
        Item::Node(_, node) => Some(&node.labels),
        Item::Pod(_, pod) => Some(&pod.labels),
        Item::Service(_, service) => service.selector.as_ref(),
        _ => None,
    };
    let mut labels = labels.into_iter().flatten();
    if labels.any(|(key, value)| !document::is_label(key, value)) {
        return Err("a label of its is none".to_owned());
    }
    let names: Vec<&str> = match item {
        Item::Pod(_, pod) => {
            let owner = pod.owner.iter().flat_map(|it| [&*it.kind, &*it.name]);
            let ports = pod.ports.iter().map(|port| &*port.name);
            owner.chain(ports).chain(pod.node.as_deref()).collect()
        }
        Item::Service(_, service) => service
            .ports
            .iter()
            .flat_map(|port| {
                let target = match &port.target {
                    TargetPort::Name(name) => Some(&**name),
                    TargetPort::Number(_) => None,
                };
                target.into_iter().chain([&*port.name])
            })
            .collect(),
        Item::Slice(_, slice) => {
            let ports = slice.backends.iter().map(|backend| &*backend.port_name);
            ports.chain([&*slice.service.name]).collect()
        }
        _ => Vec::new(),
    };
    let is_fine =
        |name: &&str| name.len() <= LONGEST && name.bytes().all(|it| it.is_ascii_graphic());
    if names.iter().all(is_fine) {
        Ok(())
    } else {
        Err("what it refers to has no name".to_owned())
    }
}
