//! Egress isolation that forgets name resolution: pods that may reach something, and can't ask where
//! it is.

use std::sync::Arc;

use super::{Population, Remarks};
use crate::policy::{
    PolicySet, Selector,
    model::{Namespaces, Policy, Port, PortMatch, PortProtocol, Ports, Rule, Tier},
};

/// Where DNS is served; 5353 by `OpenShift`'s pods.
const PORTS: [u16; 2] = [53, 5353];

pub(super) fn check(set: &PolicySet, population: Option<&Population<'_>>, remarks: &mut Remarks) {
    let policies = set.policies.iter().map(|policy| &**policy);
    let isolating: Vec<&Policy> = policies
        .filter(|policy| policy.tier == Tier::NetworkPolicy && policy.egress.is_some())
        .collect();
    for policy in &isolating {
        // What allows nothing means it; it may be the floor on which others allow more.
        if rules(policy).is_empty() || rules(policy).iter().any(allows_dns) {
            continue;
        }
        let helps = |other: &&&Policy| rules(other).iter().any(allows_dns);
        let helpers: Vec<&&Policy> = isolating.iter().filter(helps).collect();
        let is_helped = match population {
            Some(population) => population.of(&policy.subject).all(|group| {
                let selects = |helper: &&&Policy| {
                    namespace(helper) == Some(group.namespace)
                        && helper.subject.pods.matches(group.labels)
                };
                helpers.iter().any(selects)
            }),
            None => helpers.iter().any(|helper| {
                namespace(helper) == namespace(policy)
                    && is_wider(&helper.subject.pods, &policy.subject.pods)
            }),
        };
        if !is_helped {
            let says = "it isolates its pods for egress, and neither it nor another policy lets \
                        them ask DNS (UDP port 53): names won't resolve";
            remarks.warn(&policy.place, "no-dns", says);
        }
    }
}

fn rules(policy: &Policy) -> &[Rule] {
    policy.egress.as_deref().unwrap_or_default()
}

fn namespace(policy: &Policy) -> Option<&Arc<str>> {
    match &policy.subject.namespaces {
        Namespaces::Named(name) => Some(name),
        Namespaces::Selected(_) => None,
    }
}

/// Whatever `narrow` selects, `wide` selects for certain.
fn is_wider(wide: &Selector, narrow: &Selector) -> bool {
    wide.requirements
        .iter()
        .all(|it| narrow.requirements.contains(it))
}

fn allows_dns(rule: &Rule) -> bool {
    let is_dns = |Port { what, .. }: &Port| match what {
        PortMatch::Protocol(protocol) => *protocol == PortProtocol::Udp,
        PortMatch::Range {
            protocol,
            first,
            last,
        } => {
            *protocol == PortProtocol::Udp
                && PORTS.iter().any(|port| (first..=last).contains(&port))
        }
        PortMatch::Named { protocol, name } => {
            *protocol != Some(PortProtocol::Tcp) && name.contains("dns")
        }
    };
    match &rule.ports {
        Ports::All => true,
        Ports::OneOf(ports) => ports.iter().any(is_dns),
    }
}
