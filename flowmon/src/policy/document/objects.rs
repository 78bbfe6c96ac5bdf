//! A file into the objects that are in it: documents split, lists unpacked.

use std::sync::Arc;

use super::{
    json,
    tree::{Fault, Node, Value},
    yaml,
};
use crate::policy::{Place, Problem, Severity};

/// An object of the Kubernetes API.
#[derive(Debug, Clone, Copy)]
pub(in crate::policy) struct Object<'n, 't> {
    /// `networking.k8s.io`; empty for the core group.
    pub(in crate::policy) group: &'n str,
    /// `v1`
    pub(in crate::policy) version: &'n str,
    /// `NetworkPolicy`
    pub(in crate::policy) kind: &'n str,
    /// All of it.
    pub(in crate::policy) node: &'n Node<'t>,
}

/// Documents with something wrong in one file.
const MOST_PROBLEMS: usize = 10_000;
/// Lists in lists end here.
const DEEPEST_LIST: usize = 4;

/// Shows every object of a file, and collects what is wrong with the file's form. A document that
/// can't be read does not keep the others from being read.
pub(in crate::policy) fn each(
    file: &Arc<str>,
    text: &str,
    problems: &mut Vec<Problem>,
    show: &mut dyn FnMut(Object<'_, '_>, &mut Vec<Problem>),
) {
    for part in split(text) {
        if problems.len() >= MOST_PROBLEMS {
            let says = "so much is wrong with this file that the rest of it was not read";
            problems.push(problem(file, 0, 0, "too-many-problems", says.to_owned()));
            return;
        }
        let mut report = |fault: Fault, rule| {
            problems.push(problem(file, fault.line, fault.column, rule, fault.message));
        };
        let nodes = match part {
            Ok((line, text)) => parse(line, text),
            Err(line) => {
                report(
                    Fault {
                        line,
                        column: 1,
                        message: "only a comment may stand beside `---`".to_owned(),
                    },
                    "syntax",
                );
                continue;
            }
        };
        match nodes {
            Ok(nodes) => {
                for node in &nodes {
                    unpack(file, node, None, 0, problems, show);
                }
            }
            Err(fault) => report(fault, "syntax"),
        }
    }
}

/// Shows the one object that this JSON is, and collects what is wrong with its form. `like` is its
/// version and kind, which an item of a list does not say itself.
pub(in crate::policy) fn item(
    file: &Arc<str>,
    json: &str,
    like: (&str, &str),
    problems: &mut Vec<Problem>,
    show: &mut dyn FnMut(Object<'_, '_>, &mut Vec<Problem>),
) {
    match json::parse(json, 1).as_deref() {
        Ok([node]) => unpack(file, node, Some(like), DEEPEST_LIST, problems, show),
        Ok(_) => problems.push(problem(
            file,
            1,
            1,
            "syntax",
            "expected one object".to_owned(),
        )),
        Err(fault) => {
            let message = fault.message.clone();
            problems.push(problem(file, fault.line, fault.column, "syntax", message));
        }
    }
}

/// The only document of a file.
///
/// # Errors
/// None, several, or one that can't be read.
pub(super) fn only(text: &str) -> Result<Node<'_>, Fault> {
    let mut found: Option<Node<'_>> = None;
    for part in split(text) {
        let fault = |line: u32, column, message: &str| Fault {
            line,
            column,
            message: message.to_owned(),
        };
        let beside = "only a comment may stand beside `---`";
        let (line, text) = part.map_err(|line| fault(line, 1, beside))?;
        for node in parse(line, text)? {
            if node.value == Value::Null {
                continue;
            }
            if found.is_some() {
                let (line, column) = (node.line, node.column);
                return Err(fault(line, column, "a second document: one a file, here"));
            }
            found = Some(node);
        }
    }
    found.ok_or_else(|| Fault {
        line: 1,
        column: 1,
        message: "there is nothing in this file".to_owned(),
    })
}

fn parse(line: u32, text: &str) -> Result<Vec<Node<'_>>, Fault> {
    let yaml = || yaml::parse(text, line).map(|node| node.into_iter().collect());
    if text.trim_start().starts_with('{') {
        // What is no JSON may still be a flow mapping; if it is neither, JSON was meant.
        return json::parse(text, line).or_else(|fault| yaml().map_err(|_| fault));
    }
    yaml()
}

/// The documents and their first lines; for a separator with something beside it, its line. As
/// `kubectl` does it, by lines that begin with `---` whatever is around them.
fn split(text: &str) -> Vec<Result<(u32, &str), u32>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parts = Vec::new();
    let (mut start, mut start_line, mut at, mut line) = (0, 1, 0, 1_u32);
    for whole in text.split_inclusive('\n') {
        let next = at + whole.len();
        if let Some(beside) = whole.strip_prefix("---") {
            parts.push(Ok((start_line, text.get(start..at).unwrap_or_default())));
            let beside = beside.trim();
            if !beside.is_empty() && !beside.starts_with('#') {
                parts.push(Err(line));
            }
            (start, start_line) = (next, line.saturating_add(1));
        }
        (at, line) = (next, line.saturating_add(1));
    }
    parts.push(Ok((start_line, text.get(start..).unwrap_or_default())));
    parts
}

/// Shows an object, or those of a list. `like` is what an item is that does not say so itself.
fn unpack<'n, 't>(
    file: &Arc<str>,
    node: &'n Node<'t>,
    like: Option<(&'n str, &'n str)>,
    depth: usize,
    problems: &mut Vec<Problem>,
    show: &mut dyn FnMut(Object<'_, '_>, &mut Vec<Problem>),
) {
    let mut report = |message: String| {
        problems.push(problem(file, node.line, node.column, "no-object", message));
    };
    let Value::Map(entries) = &node.value else {
        if depth > 0 || node.value != Value::Null {
            report(format!(
                "expected an object of Kubernetes, this is {}",
                node.value.kind()
            ));
        }
        return;
    };
    for key in ["apiVersion", "kind", "metadata", "items", "spec"] {
        if entries
            .iter()
            .filter(|entry| entry.key == key)
            .nth(1)
            .is_some()
        {
            return report(format!("the object has several `{key}`"));
        }
    }
    let mut word = |key: &str, like: Option<&'n str>| match node.get(key) {
        None => like.or_else(|| {
            report(format!("the object has no `{key}`"));
            None
        }),
        Some(value) => value.text().or_else(|| {
            report(format!(
                "`{key}` must be a string, this is {}",
                value.value.kind()
            ));
            None
        }),
    };
    let Some(api_version) = word("apiVersion", like.map(|(version, _)| version)) else {
        return;
    };
    let Some(kind) = word("kind", like.map(|(_, kind)| kind)) else {
        return;
    };
    let item_kind = kind.strip_suffix("List");
    let items = node.get("items").map(|items| &items.value);
    if let (Some(item_kind), Some(Value::List(items))) = (item_kind, items) {
        if depth == DEEPEST_LIST {
            return report("lists are nested too deeply".to_owned());
        }
        let like = (!item_kind.is_empty()).then_some((api_version, item_kind));
        for item in items {
            unpack(file, item, like, depth + 1, problems, show);
        }
        return;
    }
    if item_kind.is_some() && matches!(items, None | Some(Value::Null)) {
        // An empty list, as Go writes it.
        return;
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let object = Object {
        group,
        version,
        kind,
        node,
    };
    show(object, problems);
}

fn problem(
    file: &Arc<str>,
    line: u32,
    column: u32,
    rule: &'static str,
    message: String,
) -> Problem {
    Problem {
        severity: Severity::Error,
        rule,
        place: Place {
            file: Arc::clone(file),
            line,
            column,
            path: String::new(),
        },
        message,
    }
}
