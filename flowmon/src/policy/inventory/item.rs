//! One object of the API, as far as an inventory has a use for it.

use std::sync::Arc;

use super::{
    Backend, Node, Pod, PodId, Service, ServiceId,
    objects::{self, Broken},
};
use crate::policy::{Labels, document::Object, labels::NAME_LABEL};

/// Label of an `EndpointSlice`: the service's name.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// An object, and how it is called.
#[derive(Debug)]
pub(in crate::policy) enum Item {
    Namespace(Arc<str>, Labels),
    Node(Arc<str>, Node),
    Pod(PodId, Pod),
    Service(ServiceId, Service),
    /// By its service.
    Endpoints(ServiceId, Vec<Backend>),
    /// By its own name.
    Slice(PodId, Slice),
    /// A slice that is for someone else than a service.
    NoServices,
    /// Of a kind that is of no use here.
    Other,
}

/// Some who answer for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) struct Slice {
    pub(in crate::policy) service: ServiceId,
    pub(in crate::policy) backends: Vec<Backend>,
}

impl Item {
    /// # Errors
    /// The object lacks what it should have.
    pub(in crate::policy) fn of(object: Object<'_, '_>) -> Result<Self, Broken> {
        let node = object.node;
        Ok(match (object.group, object.version, object.kind) {
            ("", "v1", "Namespace") => {
                let name = objects::name(node)?;
                let mut labels = objects::labels(node)?;
                labels.insert(NAME_LABEL.into(), Arc::clone(&name));
                Self::Namespace(name, labels)
            }
            ("", "v1", "Node") => Self::Node(objects::name(node)?, objects::node(node)?),
            ("", "v1", "Pod") => Self::Pod(objects::id(node)?, objects::pod(node)?),
            ("", "v1", "Service") => Self::Service(objects::id(node)?, objects::service(node)?),
            ("", "v1", "Endpoints") => {
                Self::Endpoints(objects::id(node)?, objects::endpoints(node)?)
            }
            ("discovery.k8s.io", "v1" | "v1beta1", "EndpointSlice") => {
                let id = objects::id(node)?;
                let Some(name) = objects::labels(node)?.remove(SERVICE_LABEL) else {
                    return Ok(Self::NoServices);
                };
                let service = ServiceId {
                    namespace: Arc::clone(&id.namespace),
                    name,
                };
                let backends = objects::slice(node)?;
                Self::Slice(id, Slice { service, backends })
            }
            _ => Self::Other,
        })
    }
}
