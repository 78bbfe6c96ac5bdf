//! What is the same thing several times: pods of one owner, or with the same labels.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::policy::{
    Inventory, Labels, PolicySet, Selector,
    document::{is_label, is_namespace},
    inventory::{Owner, PodId},
    labels::{Operator, Requirement, lasting},
    model::Kind,
};

/// Labels that say what something is, the best first.
const NAMING: [&str; 5] = [
    "app.kubernetes.io/name",
    "app",
    "k8s-app",
    "name",
    "component",
];

/// Pods that one selector selects, and no others of their namespace.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) namespace: Arc<str>,
    /// What its policy is to be called: nobody else's name in the namespace.
    pub(super) name: String,
    /// Who made its pods, as `Deployment cart`.
    pub(super) owners: Vec<String>,
    pub(super) pods: Vec<PodId>,
    pub(super) selector: Selector,
    /// There are labels to go by.
    pub(super) is_labelled: bool,
}

/// Every pod's workload. Pods that use their node's network have none: no policy is about them.
#[derive(Debug)]
pub(super) struct Workloads {
    all: Vec<Workload>,
    by_pod: HashMap<PodId, usize>,
}

/// What makes pods one thing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Bond {
    Owner(Owner),
    Labels(Labels),
}

/// Pods that belong together, and the sets of labels they have.
#[derive(Debug, Default)]
struct Group {
    bonds: Vec<Bond>,
    pods: Vec<PodId>,
    labels: BTreeSet<Labels>,
}

impl Group {
    /// Labels that all have.
    fn common(&self) -> Labels {
        let mut sets = self.labels.iter();
        let mut common = sets.next().cloned().unwrap_or_default();
        for set in sets {
            common.retain(|key, value| set.get(key) == Some(value));
        }
        common
    }

    /// What holds for these and not for such labels, if there is something.
    fn unlike(&self, labels: &Labels) -> Option<Requirement> {
        let have = |key, value| {
            let mut sets = self.labels.iter();
            sets.any(|set| {
                set.get(key)
                    .is_some_and(|it| Some(it) == value || value.is_none())
            })
        };
        let absent = labels.keys().find(|key| !have(*key, None));
        if let Some(key) = absent {
            return Some(Requirement {
                key: Arc::clone(key),
                operator: Operator::DoesNotExist,
            });
        }
        let other = labels.iter().find(|(key, value)| !have(*key, Some(*value)));
        other.map(|(key, value)| Requirement {
            key: Arc::clone(key),
            operator: Operator::NotIn(vec![Arc::clone(value)]),
        })
    }

    fn merge(&mut self, other: Self) {
        self.bonds.extend(other.bonds);
        self.pods.extend(other.pods);
        self.labels.extend(other.labels);
    }

    fn name(&self, common: &Labels) -> String {
        let owner = self.bonds.iter().find_map(|bond| match bond {
            Bond::Owner(owner) => Some(&*owner.name),
            Bond::Labels(_) => None,
        });
        let named = || NAMING.iter().find_map(|key| common.get(*key));
        let label = || named().or_else(|| common.values().next()).map(|it| &**it);
        let name = owner.or_else(label).unwrap_or_default();
        let plain = |char: char| match char.to_ascii_lowercase() {
            char @ ('a'..='z' | '0'..='9') => char,
            _ => '-',
        };
        // Room for a number.
        let name: String = name.chars().take(56).map(plain).collect();
        match name.trim_matches('-') {
            "" => "workload".to_owned(),
            name => name.to_owned(),
        }
    }
}

impl Workloads {
    /// Of all pods; names that policies have already are left to these.
    pub(super) fn new(inventory: &Inventory, existing: &PolicySet) -> Self {
        let mut namespaces: BTreeMap<Arc<str>, BTreeMap<Bond, Group>> = BTreeMap::new();
        for (id, pod) in &inventory.pods {
            if pod.host_network || !is_namespace(&id.namespace) {
                continue;
            }
            let mut labels = lasting(&pod.labels);
            labels.retain(|key, value| is_label(key, value));
            let bond = match &pod.owner {
                Some(owner) => Bond::Owner(owner.clone()),
                None => Bond::Labels(labels.clone()),
            };
            let groups = namespaces.entry(Arc::clone(&id.namespace)).or_default();
            let group = groups.entry(bond.clone()).or_insert_with(|| Group {
                bonds: vec![bond],
                ..Group::default()
            });
            group.pods.push(id.clone());
            group.labels.insert(labels);
        }
        let names = existing.policies.iter().map(|policy| &policy.id);
        let mut taken: BTreeSet<(Arc<str>, String)> = names
            .filter(|id| id.kind == Kind::NetworkPolicy)
            .filter_map(|id| Some((Arc::clone(id.namespace.as_ref()?), id.name.to_string())))
            .collect();
        let mut all: Vec<Workload> = Vec::new();
        for (namespace, groups) in namespaces {
            for (group, selector) in apart(groups.into_values().collect()) {
                let name = group.name(&group.common());
                let numbered = (2_u32..).map(|number| format!("{name}-{number}"));
                let mut names = std::iter::once(name.clone()).chain(numbered);
                let is_free = |name: &String| taken.insert((Arc::clone(&namespace), name.clone()));
                all.push(Workload {
                    namespace: Arc::clone(&namespace),
                    name: names.find(is_free).unwrap_or_default(),
                    owners: owners(&group.bonds),
                    is_labelled: !group.common().is_empty(),
                    pods: group.pods,
                    selector,
                });
            }
        }
        let numbered = all.iter().enumerate();
        let by_pod = numbered
            .flat_map(|(number, workload)| {
                workload.pods.iter().map(move |pod| (pod.clone(), number))
            })
            .collect();
        Self { all, by_pod }
    }

    pub(super) fn get(&self, number: usize) -> Option<&Workload> {
        self.all.get(number)
    }

    /// The number of a pod's workload.
    pub(super) fn of(&self, pod: &PodId) -> Option<usize> {
        self.by_pod.get(pod).copied()
    }
}

fn owners(bonds: &[Bond]) -> Vec<String> {
    let named = bonds.iter().filter_map(|bond| match bond {
        Bond::Owner(owner) => Some(format!("{} {}", owner.kind, owner.name)),
        Bond::Labels(_) => None,
    });
    named.collect()
}

/// Makes a selector for each that selects none of the others; those that can't be told apart become
/// one.
fn apart(mut groups: Vec<Group>) -> Vec<(Group, Selector)> {
    let mut selectors: Vec<Option<Selector>> = groups.iter().map(|_| None).collect();
    while let Some(number) = selectors.iter().position(Option::is_none) {
        match selector(&groups, number) {
            Ok(selector) => {
                if let Some(slot) = selectors.get_mut(number) {
                    *slot = Some(selector);
                }
            }
            // Whoever is told from both is told from what they are together.
            Err(other) => {
                let (first, second) = (number.min(other), number.max(other));
                selectors.remove(second);
                let second = groups.remove(second);
                if let (Some(first), Some(slot)) = (groups.get_mut(first), selectors.get_mut(first))
                {
                    first.merge(second);
                    *slot = None;
                }
            }
        }
    }
    groups
        .into_iter()
        .zip(selectors.into_iter().flatten())
        .collect()
}

/// A selector for one of these, or who can't be told from it.
fn selector(groups: &[Group], number: usize) -> Result<Selector, usize> {
    let Some(group) = groups.get(number) else {
        return Ok(Selector::default());
    };
    let has = |(key, value): (&Arc<str>, &Arc<str>)| Requirement {
        key: Arc::clone(key),
        operator: Operator::In(vec![Arc::clone(value)]),
    };
    let mut selector = Selector {
        requirements: group.common().iter().map(has).collect(),
    };
    for (other, with) in groups
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != number)
    {
        for labels in &with.labels {
            if selector.matches(labels) {
                selector
                    .requirements
                    .push(group.unlike(labels).ok_or(other)?);
            }
        }
    }
    Ok(selector)
}
