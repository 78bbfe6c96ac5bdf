//! `metadata`: what the object is called.

use std::sync::Arc;

use super::{
    syntax,
    walk::{Cursor, Fields, Findings},
};

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
    if let Some(labels) = fields.get("labels") {
        for (key, value) in labels.fields(findings).all() {
            check(
                &labels,
                syntax::label_key(key),
                "invalid-label",
                key,
                findings,
            );
            if let Some(text) = value.text(findings) {
                check(
                    &value,
                    syntax::label_value(text),
                    "invalid-label",
                    text,
                    findings,
                );
            }
        }
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
