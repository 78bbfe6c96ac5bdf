//! `metadata`: what the object is called.

use std::sync::Arc;

use super::{
    syntax,
    walk::{Cursor, Fields, Findings},
};
use crate::policy::{Labels, inventory::PodId};

/// Who an object is.
pub(super) struct Identity {
    pub(super) name: Arc<str>,
    /// As written, or `default`; also of objects that belong to no namespace.
    pub(super) namespace: Arc<str>,
}

/// What the server fills in.
const SERVERS: [&str; 9] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Reads it. `namespaced`: whether objects of this kind are in a namespace.
pub(super) fn read(
    object: &mut Fields<'_, '_>,
    namespaced: bool,
    findings: &mut Findings<'_>,
) -> Option<Identity> {
    let whole = object.require("metadata", findings)?;
    let mut fields = whole.fields(findings);
    let name = name(&mut fields, findings);
    let namespace = namespace(&mut fields, namespaced, findings);
    if let Some(of_it) = fields.get("labels") {
        labels(&of_it, findings);
    }
    if let Some(annotations) = fields.get("annotations") {
        for (key, value) in annotations.fields(findings).all() {
            let lower = key.to_ascii_lowercase();
            let fine = syntax::label_key(&lower);
            check(&annotations, fine, "invalid-annotation", key, findings);
            value.text(findings);
        }
    }
    if let Some(finalizers) = fields.get("finalizers") {
        for finalizer in finalizers.list(findings) {
            finalizer.text(findings);
        }
    }
    fields.ignore(&SERVERS);
    fields.end(findings);
    Some(Identity {
        name: name?.into(),
        namespace: namespace?.into(),
    })
}

/// Labels, as of a pod; what is wrong with them is reported.
pub(crate) fn labels(at: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Labels {
    const RULE: &str = "invalid-label";
    let mut labels = Labels::new();
    for (key, value) in at.fields(findings).all() {
        check(at, syntax::label_key(key), RULE, key, findings);
        if let Some(text) = value.text(findings) {
            check(&value, syntax::label_value(text), RULE, text, findings);
            labels.insert(key.into(), text.into());
        }
    }
    labels
}

/// A pod as `namespace/name`.
pub(crate) fn pod_id(
    at: &Cursor<'_, '_>,
    text: &str,
    findings: &mut Findings<'_>,
) -> Option<PodId> {
    const RULE: &str = "invalid-name";
    let Some((namespace, name)) = text.split_once('/') else {
        let says = format_args!("`{}`: expected NAMESPACE/NAME", short(text));
        findings.error(at, RULE, says);
        return None;
    };
    let namespace_is_fine = check(at, syntax::dns_label(namespace), RULE, namespace, findings);
    let is_fine = check(at, syntax::dns_subdomain(name), RULE, name, findings);
    (namespace_is_fine && is_fine).then(|| PodId {
        namespace: namespace.into(),
        name: name.into(),
    })
}

fn name<'n>(fields: &mut Fields<'n, '_>, findings: &mut Findings<'_>) -> Option<&'n str> {
    let generated = fields.get("generateName").is_some();
    let Some(name) = fields.get("name") else {
        let says = if generated {
            "`name` is missing: with `generateName` alone nobody knows what the object is called"
        } else {
            "`name` is missing"
        };
        findings.error(&fields.whole, "missing-field", says);
        return None;
    };
    let text = name.text(findings)?;
    check(
        &name,
        syntax::dns_subdomain(text),
        "invalid-name",
        text,
        findings,
    )
    .then_some(text)
}

fn namespace<'n>(
    fields: &mut Fields<'n, '_>,
    namespaced: bool,
    findings: &mut Findings<'_>,
) -> Option<&'n str> {
    let Some(namespace) = fields.get("namespace") else {
        return Some("default");
    };
    let text = namespace.text(findings)?;
    if text.is_empty() {
        return Some("default");
    }
    if !namespaced {
        let says = "objects of this kind are in no namespace: the API server drops it, and the \
                    policy is about the whole cluster";
        findings.warning(&namespace, "namespace-ignored", says);
    }
    check(
        &namespace,
        syntax::dns_label(text),
        "invalid-name",
        text,
        findings,
    )
    .then_some(text)
}

/// Reports a complaint about `text`; true if there is none.
pub(super) fn check(
    at: &Cursor<'_, '_>,
    result: Result<(), syntax::Complaint>,
    rule: &'static str,
    text: &str,
    findings: &mut Findings<'_>,
) -> bool {
    if let Err(complaint) = result {
        findings.error(at, rule, format_args!("`{}`: {complaint}", short(text)));
        return false;
    }
    true
}

/// Enough of it to recognize it by.
pub(super) fn short(text: &str) -> &str {
    const ENOUGH: usize = 80;
    let end = text
        .char_indices()
        .nth(ENOUGH)
        .map_or(text.len(), |(end, _)| end);
    text.get(..end).unwrap_or_default()
}
