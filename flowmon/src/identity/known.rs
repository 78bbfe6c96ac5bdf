//! What a source knows of one endpoint.

use std::{net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;
use jiff::Timestamp;

use crate::model::{EndpointKind, Identity, IdentitySource, NamedPort};

/// Somebody, and what the others may know them by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Who it is, as far as this source knows.
    pub identity: Identity,
    /// Addresses it has.
    pub addresses: Vec<IpAddr>,
    /// Networks that these are of, on its own link.
    pub networks: Vec<IpNetwork>,
    /// Index of the host's end of its attachment.
    pub ifindex: Option<u32>,
    /// Name of the host's end of its attachment.
    pub interface: Option<Arc<str>>,
    /// Inode of its network namespace.
    pub netns: Option<u64>,
    /// The runtime's ids of its containers, and of the pod itself.
    pub ids: Vec<Arc<str>>,
    /// UID of the pod in Kubernetes.
    pub pod_uid: Option<Arc<str>>,
    /// Who runs it.
    pub runtime: Option<Arc<str>>,
    /// Since when it is there.
    pub since: Option<Timestamp>,
}

impl Known {
    /// Nothing but what it is, and who says so.
    pub const fn new(kind: EndpointKind, source: IdentitySource) -> Self {
        let mut identity = Identity::nameless(kind);
        identity.source = Some(source);
        Self {
            identity,
            addresses: Vec::new(),
            networks: Vec::new(),
            ifindex: None,
            interface: None,
            netns: None,
            ids: Vec::new(),
            pod_uid: None,
            runtime: None,
            since: None,
        }
    }

    /// It has these ports too.
    pub(super) fn expose(&mut self, ports: Vec<NamedPort>) {
        let known = &mut self.identity.ports;
        known.extend(ports);
        known.sort_unstable();
        known.dedup();
    }

    /// Do both speak of different endpoints? One that is called by a name may have had it from
    /// another before.
    pub(super) fn contradicts(&self, other: &Self) -> bool {
        fn differ<T: PartialEq>(a: Option<&T>, b: Option<&T>) -> bool {
            matches!((a, b), (Some(a), Some(b)) if a != b)
        }
        let (own, others) = (&self.identity, &other.identity);
        differ(self.netns.as_ref(), other.netns.as_ref())
            || differ(self.pod_uid.as_ref(), other.pod_uid.as_ref())
            || own.kind == others.kind
                && (differ(own.name.as_ref(), others.name.as_ref())
                    || differ(own.namespace.as_ref(), others.namespace.as_ref()))
    }
}
