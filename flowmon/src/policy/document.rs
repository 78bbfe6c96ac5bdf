//! Policies as they are written: text in, a [`PolicySet`] out, and all that is wrong with it.
//!
//! What the API server would reject is an error here, unknown fields included: a typo must not widen
//! a policy. Where Kubernetes leaves a choice, this is strict. One document that can't be read does
//! not hide the others.

mod admin;
mod admin_peer;
mod admin_port;
mod json;
mod lines;
mod metadata;
mod network_policy;
mod objects;
mod scalar;
mod selector;
mod syntax;
#[cfg(test)]
mod tests;
mod tree;
mod walk;
mod yaml;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use admin::Dialect;
pub(crate) use metadata::{labels, pod_id};
pub(in crate::policy) use objects::{Object, each, item};
pub(in crate::policy) use tree::{Node, Value};
pub(crate) use walk::{Cursor, Findings};

use super::{
    Place, PolicySet, Problem, Severity,
    model::{Kind, Policy, PolicyId, Tier},
};

/// What was read.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    /// The policies that are in order.
    pub set: PolicySet,
    /// What is wrong, in the order of the files. A policy with an error is not in the set.
    pub problems: Vec<Problem>,
    /// Objects of other kinds, passed over: how many of each kind.
    pub others: BTreeMap<String, u64>,
}

impl Documents {
    /// The errors among the problems.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        let is_error = |problem: &&Problem| problem.severity == Severity::Error;
        self.problems.iter().filter(is_error)
    }
}

/// Would the API server take it for a label?
pub fn is_label(key: &str, value: &str) -> bool {
    syntax::label_key(key).is_ok() && syntax::label_value(value).is_ok()
}

/// Would the API server take it for the name of an object?
pub fn is_name(name: &str) -> bool {
    syntax::dns_subdomain(name).is_ok()
}

/// Would the API server take it for the name of a namespace?
pub fn is_namespace(name: &str) -> bool {
    syntax::dns_label(name).is_ok()
}

/// Would the API server take it for the name of a port?
pub fn is_port_name(name: &str) -> bool {
    syntax::port_name(name).is_ok()
}

/// Reads files, each with its name and its text: YAML or JSON, with as many documents as it likes.
pub fn read<'a>(files: impl IntoIterator<Item = (Arc<str>, &'a str)>) -> Documents {
    let mut reader = Reader::default();
    for (file, text) in files {
        reader.file(&file, text);
    }
    reader.documents
}

/// Reads file after file, so that not all of them need to be in memory at once.
#[derive(Debug, Default)]
pub struct Reader {
    documents: Documents,
    /// Where each policy stands.
    seen: HashMap<PolicyId, Place>,
}

impl Reader {
    /// Reads one file.
    pub fn file(&mut self, file: &Arc<str>, text: &str) {
        let mut problems = Vec::new();
        each(file, text, &mut problems, &mut |object, problems| {
            self.object(file, object, problems);
        });
        self.documents.problems.append(&mut problems);
    }

    /// What was read.
    pub fn finish(self) -> Documents {
        self.documents
    }

    /// Reads one object.
    pub(in crate::policy) fn object(
        &mut self,
        file: &Arc<str>,
        object: Object<'_, '_>,
        problems: &mut Vec<Problem>,
    ) {
        let mut findings = Findings::new(file);
        let whole = Cursor {
            node: object.node,
            path: String::new(),
        };
        match known(object) {
            Known::Policy(dialect) => {
                let policy = policy(&whole, dialect, &mut findings);
                if let Some(policy) = policy
                    && self.is_first(&policy, &whole, &mut findings)
                    && findings.is_valid()
                {
                    self.documents.set.policies.push(Arc::new(policy));
                }
            }
            Known::Unsupported(why) => {
                let (group, version, kind) = (object.group, object.version, object.kind);
                let says = format!("{kind} of {group}/{version} is not supported: {why}");
                findings.error(&whole, "unsupported-policy", says);
            }
            Known::Other => {
                let kind = metadata::short(object.kind).to_owned();
                *self.documents.others.entry(kind).or_default() += 1;
            }
        }
        problems.append(&mut findings.finish());
    }

    fn is_first(
        &mut self,
        policy: &Policy,
        whole: &Cursor<'_, '_>,
        findings: &mut Findings<'_>,
    ) -> bool {
        if let Some(first) = self.seen.get(&policy.id) {
            let kind = policy.id.kind.label();
            let says = format!("{kind} {} is there already, at {first}", policy.id);
            findings.error(whole, "duplicate-policy", says);
            return false;
        }
        self.seen.insert(policy.id.clone(), policy.place.clone());
        true
    }
}

/// Reads a file that is one document, and no object of Kubernetes, with `read`: what comes of it, and
/// all that is wrong.
pub(crate) fn alone<T>(
    file: &Arc<str>,
    text: &str,
    read: impl FnOnce(&Cursor<'_, '_>, &mut Findings<'_>) -> T,
) -> Result<T, Vec<Problem>> {
    let node = objects::only(text).map_err(|fault| {
        let place = Place {
            file: Arc::clone(file),
            line: fault.line,
            column: fault.column,
            path: String::new(),
        };
        vec![Problem {
            severity: Severity::Error,
            rule: "syntax",
            place,
            message: fault.message,
        }]
    })?;
    let mut findings = Findings::new(file);
    let whole = Cursor {
        node: &node,
        path: String::new(),
    };
    let found = read(&whole, &mut findings);
    if findings.is_valid() {
        Ok(found)
    } else {
        Err(findings.finish())
    }
}

/// What flowmon makes of an object.
enum Known {
    Policy(Dialect),
    Unsupported(&'static str),
    Other,
}

/// By group and kind: others have kinds of the same name.
fn known(object: Object<'_, '_>) -> Known {
    let dialect = |kind| {
        Known::Policy(Dialect {
            kind,
            masked_only: object.version == "v1beta1",
        })
    };
    match (object.group, object.version, object.kind) {
        ("networking.k8s.io", "v1", "NetworkPolicy") => dialect(Kind::NetworkPolicy),
        ("policy.networking.k8s.io", "v1alpha2" | "v1beta1", "ClusterNetworkPolicy") => {
            dialect(Kind::ClusterNetworkPolicy)
        }
        ("policy.networking.k8s.io", "v1alpha1", "AdminNetworkPolicy") => {
            dialect(Kind::AdminNetworkPolicy)
        }
        ("policy.networking.k8s.io", "v1alpha1", "BaselineAdminNetworkPolicy") => {
            dialect(Kind::BaselineAdminNetworkPolicy)
        }
        ("networking.k8s.io" | "extensions", _, "NetworkPolicy") => {
            Known::Unsupported("Kubernetes serves networking.k8s.io/v1")
        }
        ("policy.networking.k8s.io", _, "ClusterNetworkPolicy") => {
            Known::Unsupported("flowmon reads v1alpha2 and v1beta1")
        }
        ("policy.networking.k8s.io", ..) => Known::Unsupported("flowmon reads v1alpha1"),
        (_, _, kind) if kind.starts_with("Staged") => Known::Other,
        ("cilium.io", _, kind) if kind.ends_with("NetworkPolicy") => Known::Unsupported(
            "flowmon does not know Cilium's policies, and its verdicts leave them out",
        ),
        ("projectcalico.org" | "crd.projectcalico.org", _, kind)
            if kind.ends_with("NetworkPolicy") =>
        {
            Known::Unsupported(
                "flowmon does not know Calico's policies, and its verdicts leave them out",
            )
        }
        ("crd.antrea.io", _, kind) if kind.ends_with("NetworkPolicy") => Known::Unsupported(
            "flowmon does not know Antrea's policies, and its verdicts leave them out",
        ),
        (_, _, kind) if kind.ends_with("NetworkPolicy") || kind == "EgressFirewall" => {
            Known::Unsupported("flowmon does not know this kind, and its verdicts leave it out")
        }
        _ => Known::Other,
    }
}

fn policy(whole: &Cursor<'_, '_>, dialect: Dialect, findings: &mut Findings<'_>) -> Option<Policy> {
    let kind = dialect.kind;
    let namespaced = kind == Kind::NetworkPolicy;
    let mut fields = whole.fields(findings);
    fields.ignore(&["apiVersion", "kind", "status"]);
    let identity = metadata::read(&mut fields, namespaced, findings);
    let (tier, subject, ingress, egress) = if namespaced {
        // Where the namespace is wrong the document is, and nobody sees this one.
        let fallback = || Arc::from("default");
        let namespace = identity
            .as_ref()
            .map_or_else(fallback, |id| Arc::clone(&id.namespace));
        let spec = network_policy::read(&mut fields, &namespace, findings);
        (
            Tier::NetworkPolicy,
            Some(spec.subject),
            spec.ingress,
            spec.egress,
        )
    } else if let Some(spec) = admin::read(&mut fields, dialect, findings) {
        let some = |rules: Vec<_>| (!rules.is_empty()).then_some(rules);
        (
            spec.tier,
            Some(spec.subject),
            some(spec.ingress),
            some(spec.egress),
        )
    } else {
        (Tier::NetworkPolicy, None, None, None)
    };
    fields.end(findings);
    let identity = identity?;
    if kind == Kind::BaselineAdminNetworkPolicy && &*identity.name != "default" {
        let says = "the only BaselineAdminNetworkPolicy there can be is called `default`";
        findings.error(whole, "invalid-name", says);
    }
    Some(Policy {
        id: PolicyId {
            kind,
            namespace: namespaced.then_some(identity.namespace),
            name: identity.name,
        },
        tier,
        subject: subject?,
        ingress,
        egress,
        place: whole.place(findings.file),
    })
}
