//! Labels and what selects by them (Kubernetes `LabelSelector`).

use std::sync::Arc;

pub use crate::model::Labels;

/// The label that every namespace has: its name.
pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Labels that tell one revision, one replica or one run from another.
const PASSING: [&str; 11] = [
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "controller-uid",
    "job-name",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/job-attempt",
];

/// Those that will be the same tomorrow, for every replica.
pub fn lasting(labels: &Labels) -> Labels {
    let mut lasting = labels.clone();
    lasting.retain(|key, _| !PASSING.contains(&&**key));
    lasting
}

/// A label selector: all of its requirements must hold; none at all selects everything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Selector {
    /// `matchLabels` and `matchExpressions` alike, in the order of the document.
    pub requirements: Vec<Requirement>,
}

/// One requirement on one label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: Arc<str>,
    /// What of it.
    pub operator: Operator,
}

/// `LabelSelectorOperator`, with its values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// Present, with one of these values.
    In(Vec<Arc<str>>),
    /// Absent, or with none of these values.
    NotIn(Vec<Arc<str>>),
    /// Present.
    Exists,
    /// Absent.
    DoesNotExist,
}

impl Selector {
    /// Does it select something with these labels?
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.holds(labels))
    }

    /// Does it select everything?
    pub const fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }
}

impl Requirement {
    /// Does it hold for these labels?
    pub fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}
