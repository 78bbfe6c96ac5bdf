//! What is asked for: kinds of objects, and where the API has them.

use crate::policy::{cluster::Resource, model::Kind};

/// A kind of objects.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) resource: Resource,
    /// As in paths and in roles.
    pub(super) plural: &'static str,
    /// Where it may be, the first of these that there is: a version of the core, or of a group.
    pub(super) versions: &'static [&'static str],
    /// Not every cluster has it.
    pub(super) is_optional: bool,
}

pub(super) static APIS: [Api; 9] = [
    core(Resource::Namespaces, "namespaces"),
    core(Resource::Nodes, "nodes"),
    core(Resource::Services, "services"),
    core(Resource::Pods, "pods"),
    Api {
        resource: Resource::Policies(Kind::NetworkPolicy),
        plural: "networkpolicies",
        versions: &["networking.k8s.io/v1"],
        is_optional: false,
    },
    Api {
        resource: Resource::EndpointSlices,
        plural: "endpointslices",
        // v1beta1 is what clusters before 1.21 have.
        versions: &["discovery.k8s.io/v1", "discovery.k8s.io/v1beta1"],
        is_optional: true,
    },
    Api {
        resource: Resource::Policies(Kind::ClusterNetworkPolicy),
        plural: "clusternetworkpolicies",
        versions: &[
            "policy.networking.k8s.io/v1beta1",
            "policy.networking.k8s.io/v1alpha2",
        ],
        is_optional: true,
    },
    Api {
        resource: Resource::Policies(Kind::AdminNetworkPolicy),
        plural: "adminnetworkpolicies",
        versions: &["policy.networking.k8s.io/v1alpha1"],
        is_optional: true,
    },
    Api {
        resource: Resource::Policies(Kind::BaselineAdminNetworkPolicy),
        plural: "baselineadminnetworkpolicies",
        versions: &["policy.networking.k8s.io/v1alpha1"],
        is_optional: true,
    },
];

const fn core(resource: Resource, plural: &'static str) -> Api {
    Api {
        resource,
        plural,
        versions: &["v1"],
        is_optional: false,
    }
}

impl Api {
    /// Where all of its objects are.
    pub(super) fn path(&self, version: &str) -> String {
        let root = if version.contains('/') { "apis" } else { "api" };
        format!("/{root}/{version}/{}", self.plural)
    }

    /// The group that is asked for further versions where none of these is there: policies in a
    /// version that flowmon can't read are in force all the same.
    pub(super) fn discoverable(&self) -> Option<&'static str> {
        if !matches!(self.resource, Resource::Policies(_)) {
            return None;
        }
        let (group, _) = self.versions.first()?.split_once('/')?;
        Some(group)
    }
}
