//! Who is at an end of a flow.

use std::sync::Arc;

use serde::Serialize;

use super::Labels;

/// What somebody at an end of a flow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointKind {
    /// A Kubernetes or Podman pod: containers that share a network namespace.
    Pod,
    /// A container by itself.
    Container,
    /// A network namespace without a container.
    Netns,
    /// A service's own address: who answers is another.
    Service,
    /// Another node of the cluster.
    Node,
    /// This host itself.
    Host,
    /// Nobody of ours.
    External,
    /// Something, of which no more is known.
    Unknown,
}

/// Who says who somebody is, the nearest to the kernel first: where two disagree, that one is
/// believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentitySource {
    /// The kernel: network namespaces, their processes and control groups.
    Netns,
    /// Results of CNI plugins.
    Cni,
    /// A runtime that speaks CRI (containerd, CRI-O).
    Cri,
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// The Kubernetes API.
    Kubernetes,
    /// What the user declared.
    Inventory,
}

/// Who somebody is. What is not known is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// What it is.
    pub kind: EndpointKind,
    /// Namespace for policies: that of Kubernetes, a compose project, or `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// The runtime's id of the container, or of the pod's sandbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<Arc<str>>,
    /// Labels; empty only when it is known to have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// Ports that policies know by a name.
    #[serde(skip)]
    pub ports: Vec<NamedPort>,
    /// It is known to have no others.
    #[serde(skip)]
    pub all_ports: bool,
    /// Who says so: whoever gave the name, or what else is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IdentitySource>,
}

/// A port of somebody's by a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedPort {
    /// Its name.
    pub name: Arc<str>,
    /// IP protocol number.
    pub protocol: u8,
    /// Its number, where they listen.
    pub port: u16,
}

impl Identity {
    /// Nothing but what it is.
    pub const fn nameless(kind: EndpointKind) -> Self {
        Self {
            kind,
            namespace: None,
            name: None,
            container_id: None,
            labels: None,
            ports: Vec::new(),
            all_ports: false,
            source: None,
        }
    }

    /// May a source still find out who it is?
    pub const fn is_open(&self) -> bool {
        matches!(
            self.kind,
            EndpointKind::Unknown | EndpointKind::Pod | EndpointKind::Container
        ) && self.name.is_none()
    }
}

impl EndpointKind {
    /// As in records.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Container => "container",
            Self::Netns => "netns",
            Self::Service => "service",
            Self::Node => "node",
            Self::Host => "host",
            Self::External => "external",
            Self::Unknown => "unknown",
        }
    }
}

impl IdentitySource {
    /// As in records and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Netns => "netns",
            Self::Cni => "cni",
            Self::Cri => "cri",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Kubernetes => "kubernetes",
            Self::Inventory => "inventory",
        }
    }
}
