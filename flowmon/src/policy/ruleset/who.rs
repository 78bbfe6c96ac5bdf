//! Who is at an end, and a connection as one side's policies look at it.

use std::{net::IpAddr, sync::Arc};

use flowmon_common::wire::protocol;

use super::{class::Class, matching::Match, selectors::NodeSelector};
use crate::policy::{
    Reason,
    inventory::{NamedPort, PodId},
};

/// Who is at an end of a connection.
#[derive(Debug, Clone, Copy)]
pub(in crate::policy) enum Who<'a> {
    /// A pod of the pod network.
    Pod(&'a Pod),
    /// A node, or a pod that uses its network; `None` when nothing but the address is known of it.
    Node(Option<&'a Node>),
    /// Someone outside the cluster; or a node, where the inventory has none.
    Outside { maybe_node: bool },
    /// It can't be said.
    Unclear(Reason),
}

/// A pod, ready to be asked.
#[derive(Debug)]
pub(in crate::policy) struct Pod {
    pub(in crate::policy) id: PodId,
    /// What it has in common with others.
    pub(in crate::policy) class: Arc<Class>,
    pub(in crate::policy) addresses: Box<[IpAddr]>,
    pub(in crate::policy) ports: Box<[NamedPort]>,
    pub(in crate::policy) ports_unknown: bool,
    pub(in crate::policy) node: Option<Arc<Node>>,
    pub(in crate::policy) host_addresses: Box<[IpAddr]>,
    pub(in crate::policy) host_network: bool,
}

/// A node, ready to be asked.
#[derive(Debug)]
pub(in crate::policy) struct Node {
    pub(in crate::policy) name: Arc<str>,
    /// What selects it, by number.
    pub(super) selected: Box<[Match]>,
}

impl Node {
    pub(super) fn selected_by(&self, selector: NodeSelector) -> Match {
        let unknown = Match::Maybe(Reason::UnknownNode);
        self.selected.get(selector.0).copied().unwrap_or(unknown)
    }
}

impl Pod {
    /// Is it the node that this pod runs on?
    pub(in crate::policy) fn runs_on(&self, who: Who<'_>, address: IpAddr) -> Match {
        let node = match who {
            Who::Node(node) => node,
            Who::Pod(_) | Who::Outside { .. } => return Match::No,
            // A node may well use an address of its pods' network: its bridge's.
            Who::Unclear(reason) => return Match::Maybe(reason),
        };
        let by_name = match (&self.node, node) {
            (Some(own), Some(node)) => own.name == node.name,
            _ => false,
        };
        if by_name || self.host_addresses.contains(&address) {
            Match::Yes
        } else if self.node.is_none() && self.host_addresses.is_empty() {
            Match::Maybe(Reason::UnknownNode)
        } else {
            Match::No
        }
    }
}

/// A connection, as one side's policies look at it.
#[derive(Debug, Clone, Copy)]
pub(in crate::policy) struct Flow<'a> {
    /// Whose policies.
    pub(in crate::policy) subject: &'a Pod,
    pub(in crate::policy) direction: Direction,
    /// The other end.
    pub(in crate::policy) other: Who<'a>,
    /// Its address.
    pub(in crate::policy) address: IpAddr,
    /// The address of the service that was addressed.
    pub(in crate::policy) service: Option<IpAddr>,
    /// Who answered.
    pub(in crate::policy) responder: Who<'a>,
    pub(in crate::policy) protocol: u8,
    /// Where it answered.
    pub(in crate::policy) port: Option<u16>,
}

impl Flow<'_> {
    /// Are both ends the same pod?
    pub(in crate::policy) fn is_to_itself(&self) -> bool {
        matches!(self.other, Who::Pod(other) if other.id == self.subject.id)
    }

    /// One that network policies are defined for?
    pub(in crate::policy) const fn has_policy_protocol(&self) -> bool {
        matches!(
            self.protocol,
            protocol::TCP | protocol::UDP | protocol::SCTP
        )
    }
}

/// Which of a policy's lists is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::policy) enum Direction {
    Egress,
    Ingress,
}
