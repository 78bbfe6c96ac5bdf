//! The kinds of policies that a suggestion can be written as.

mod cluster;
mod network_policy;

use std::sync::Arc;

use ipnetwork::IpNetwork;

use super::{
    needs::Port,
    workload::{Workload, Workloads},
};
use crate::policy::{
    Labels, Place, Policy, Selector,
    labels::{NAME_LABEL, Operator},
    model::{Namespaces, PolicyId, Subject},
    yaml::{Yaml, list, map, match_labels, text},
};

/// A kind of policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `networking.k8s.io/v1`: one isolates a workload and allows what was seen.
    #[default]
    NetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha2`, in the baseline tier: rules that accept what was seen, then
    /// one that denies the rest.
    ClusterNetworkPolicy,
}

/// What is let through in one direction: one rule, or several where a kind's limits ask for it.
#[derive(Debug)]
pub(super) struct Allowed<'a> {
    /// The evidence.
    pub(super) lines: Vec<String>,
    pub(super) others: Others<'a>,
    pub(super) ports: Vec<&'a Port>,
}

/// The other end.
#[derive(Debug)]
pub(super) enum Others<'a> {
    Workload(&'a Workload),
    Networks(Vec<IpNetwork>),
}

/// What a workload's policy has to say.
#[derive(Debug)]
pub(super) struct Said<'a> {
    pub(super) workload: &'a Workload,
    /// Of a direction that others isolate it in, and that nothing is missing in, nothing.
    pub(super) ingress: Option<Vec<Allowed<'a>>>,
    pub(super) egress: Option<Vec<Allowed<'a>>>,
}

/// How policies are called that isolate in thought: no policy can be.
const ISOLATION: &str = "(isolation)";

impl Format {
    /// What is to be known of its policies, as lines.
    pub(super) const fn notes(self) -> &'static [&'static str] {
        match self {
            Self::NetworkPolicy => &[],
            Self::ClusterNetworkPolicy => cluster::NOTES,
        }
    }

    /// The documents.
    pub(super) fn documents(self, said: &Said<'_>) -> Vec<Yaml> {
        match self {
            Self::NetworkPolicy => vec![network_policy::document(said)],
            Self::ClusterNetworkPolicy => cluster::documents(said),
        }
    }

    /// Policies that let nothing through to or from these, as far as their kind can.
    pub(super) fn isolation(
        self,
        watched: impl Iterator<Item = usize>,
        workloads: &Workloads,
    ) -> impl Iterator<Item = Arc<Policy>> {
        let of = move |(number, workload): (usize, &Workload)| {
            let (kind, tier, rules) = match self {
                Self::NetworkPolicy => network_policy::isolating(),
                Self::ClusterNetworkPolicy => cluster::isolating(),
            };
            let [ingress, egress] = rules;
            Arc::new(Policy {
                id: PolicyId {
                    kind,
                    namespace: Some(Arc::clone(&workload.namespace)),
                    name: format!("{ISOLATION} {number}").into(),
                },
                tier,
                subject: Subject {
                    namespaces: Namespaces::Named(Arc::clone(&workload.namespace)),
                    pods: workload.selector.clone(),
                },
                ingress: Some(ingress),
                egress: Some(egress),
                place: Place::of_file("isolation".into()),
            })
        };
        let all = watched.filter_map(|number| workloads.get(number));
        all.enumerate().map(of)
    }
}

/// Does this policy exist in thought only?
pub(super) fn is_isolation(id: &PolicyId) -> bool {
    id.name.starts_with(ISOLATION)
}

/// The selector of a namespace.
fn namespace(name: &str) -> Yaml {
    let labels = Labels::from([(NAME_LABEL.into(), name.into())]);
    map(match_labels(&labels))
}

fn selector(selector: &Selector) -> Yaml {
    let mut labels = Labels::new();
    let mut expressions = Vec::new();
    for requirement in &selector.requirements {
        let (operator, values) = match &requirement.operator {
            Operator::In(values) => {
                if let [value] = &values[..] {
                    labels.insert(requirement.key.clone(), value.clone());
                    continue;
                }
                ("In", &values[..])
            }
            Operator::NotIn(values) => ("NotIn", &values[..]),
            Operator::Exists => ("Exists", &[][..]),
            Operator::DoesNotExist => ("DoesNotExist", &[][..]),
        };
        let mut expression = vec![
            ("key", text(&requirement.key)),
            ("operator", text(operator)),
        ];
        if !values.is_empty() {
            expression.push(("values", list(values.iter().map(text))));
        }
        expressions.push(map(expression));
    }
    let mut fields = match_labels(&labels);
    if !expressions.is_empty() {
        fields.push(("matchExpressions", list(expressions)));
    }
    map(fields)
}
