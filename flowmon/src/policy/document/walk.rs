//! Reading a tree strictly: every field is asked for by name, and what nobody asked for is an
//! error, as are fields that occur twice. Paths are those of the API server.

use std::{fmt, sync::Arc};

use super::tree::{Entry, Node, Value};
use crate::policy::{Place, Problem, Severity};

/// What one document may have to say; the rest is counted.
const MOST_PROBLEMS: usize = 100;

/// What is wrong with the document that is read.
pub(crate) struct Findings<'f> {
    pub(super) file: &'f Arc<str>,
    pub(super) problems: Vec<Problem>,
    left_out: usize,
}

impl<'f> Findings<'f> {
    pub(crate) fn new(file: &'f Arc<str>) -> Self {
        Self {
            file,
            problems: Vec::new(),
            left_out: 0,
        }
    }

    /// Is the document in order, warnings aside?
    pub(crate) fn is_valid(&self) -> bool {
        let is_error = |problem: &Problem| problem.severity == Severity::Error;
        self.left_out == 0 && !self.problems.iter().any(is_error)
    }

    /// The API server would reject this.
    pub(crate) fn error(
        &mut self,
        at: &Cursor<'_, '_>,
        rule: &'static str,
        says: impl fmt::Display,
    ) {
        self.push(Severity::Error, at.place(self.file), rule, says);
    }

    /// The same, where somebody else looked.
    pub(crate) fn error_at(&mut self, place: Place, rule: &'static str, says: impl fmt::Display) {
        self.push(Severity::Error, place, rule, says);
    }

    /// Valid, but hardly meant.
    pub(crate) fn warning(
        &mut self,
        at: &Cursor<'_, '_>,
        rule: &'static str,
        says: impl fmt::Display,
    ) {
        self.push(Severity::Warning, at.place(self.file), rule, says);
    }

    fn push(
        &mut self,
        severity: Severity,
        place: Place,
        rule: &'static str,
        says: impl fmt::Display,
    ) {
        if self.problems.len() == MOST_PROBLEMS {
            self.left_out += 1;
            return;
        }
        self.problems.push(Problem {
            severity,
            rule,
            place,
            message: says.to_string(),
        });
    }

    /// All that was found.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        if self.left_out > 0
            && let Some(last) = self.problems.last_mut()
        {
            last.severity = Severity::Error;
            let more = format!(" (and {} more problems in this document)", self.left_out);
            last.message.push_str(&more);
        }
        self.problems
    }
}

/// A value, and how it is reached.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'n, 't> {
    pub(in crate::policy) node: &'n Node<'t>,
    pub(in crate::policy) path: String,
}

impl<'n, 't> Cursor<'n, 't> {
    pub(crate) fn place(&self, file: &Arc<str>) -> Place {
        Place {
            file: Arc::clone(file),
            line: self.node.line,
            column: self.node.column,
            path: self.path.clone(),
        }
    }

    fn is_null(&self) -> bool {
        self.node.value == Value::Null
    }

    fn expected(&self, what: &str, findings: &mut Findings<'_>) {
        let found = self.node.value.kind();
        let hint = match (what, &self.node.value) {
            ("a string", Value::Bool(_) | Value::Integer(_) | Value::Number(_)) => {
                ": put it in quotes"
            }
            _ => "",
        };
        findings.error(
            self,
            "wrong-type",
            format_args!("expected {what}, this is {found}{hint}"),
        );
    }

    /// The fields of an object; of null, none (so does Go).
    pub(crate) fn fields(&self, findings: &mut Findings<'_>) -> Fields<'n, 't> {
        let entries = match &self.node.value {
            Value::Map(entries) => &**entries,
            Value::Null => &[],
            _ => {
                self.expected("an object", findings);
                &[]
            }
        };
        let fields = Fields {
            entries,
            whole: self.clone(),
            known: Vec::new(),
        };
        fields.no_twins(findings);
        fields
    }

    /// The items of a list; of null, none.
    pub(crate) fn list(&self, findings: &mut Findings<'_>) -> Vec<Cursor<'n, 't>> {
        match &self.node.value {
            Value::List(items) => {
                let item = |(at, node)| Cursor {
                    node,
                    path: format!("{}[{at}]", self.path),
                };
                items.iter().enumerate().map(item).collect()
            }
            Value::Null => Vec::new(),
            _ => {
                self.expected("a list", findings);
                Vec::new()
            }
        }
    }

    /// What stands in a list or, where there may be several but is one, alone.
    pub(crate) fn one_or_more(&self, findings: &mut Findings<'_>) -> Vec<Self> {
        match &self.node.value {
            Value::List(_) => self.list(findings),
            _ => vec![self.clone()],
        }
    }

    /// Text, or a number for what it is written as.
    pub(crate) fn word(&self, findings: &mut Findings<'_>) -> Option<String> {
        match &self.node.value {
            Value::Text(text) => Some(text.clone().into_owned()),
            Value::Integer(number) => Some(number.to_string()),
            _ => {
                self.expected("a string or a number", findings);
                None
            }
        }
    }

    /// What stands alone, as text.
    pub(crate) fn scalar(&self, findings: &mut Findings<'_>) -> Option<String> {
        match &self.node.value {
            Value::Text(text) => Some(text.clone().into_owned()),
            Value::Integer(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            _ => {
                self.expected("one value", findings);
                None
            }
        }
    }

    /// Is it a list?
    pub(crate) const fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    /// Text; of null, the empty one.
    pub(crate) fn text(&self, findings: &mut Findings<'_>) -> Option<&'n str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            Value::Null => Some(""),
            _ => {
                self.expected("a string", findings);
                None
            }
        }
    }

    /// An integer; of null, zero.
    pub(crate) fn integer(&self, findings: &mut Findings<'_>) -> Option<i64> {
        match &self.node.value {
            Value::Integer(value) => Some(*value),
            Value::Null => Some(0),
            _ => {
                self.expected("an integer", findings);
                None
            }
        }
    }
}

/// The fields of an object, as they are asked for.
pub(crate) struct Fields<'n, 't> {
    entries: &'n [Entry<'t>],
    /// The object itself.
    pub(super) whole: Cursor<'n, 't>,
    known: Vec<&'static str>,
}

impl<'n, 't> Fields<'n, 't> {
    /// A field that is there and not null.
    pub(crate) fn get(&mut self, name: &'static str) -> Option<Cursor<'n, 't>> {
        self.get_or_null(name).filter(|field| !field.is_null())
    }

    /// A field that is there.
    pub(crate) fn get_or_null(&mut self, name: &'static str) -> Option<Cursor<'n, 't>> {
        self.known.push(name);
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        Some(self.child(entry))
    }

    /// A field that must be there.
    pub(crate) fn require(
        &mut self,
        name: &'static str,
        findings: &mut Findings<'_>,
    ) -> Option<Cursor<'n, 't>> {
        let found = self.get(name);
        if found.is_none() {
            findings.error(
                &self.whole,
                "missing-field",
                format_args!("`{name}` is missing"),
            );
        }
        found
    }

    /// Fields that may be there, and that nobody needs.
    pub(crate) fn ignore(&mut self, names: &[&'static str]) {
        self.known.extend(names);
    }

    /// Every field, for objects whose keys are data.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'n str, Cursor<'n, 't>)> {
        self.entries.iter().map(|entry| {
            let child = Cursor {
                node: &entry.value,
                path: format!("{}[{}]", self.whole.path, entry.key),
            };
            (&*entry.key, child)
        })
    }

    /// How many there are, null or not.
    pub(crate) fn count(&self) -> usize {
        self.entries.len()
    }

    /// Done: all that was not asked for is an error.
    pub(crate) fn end(self, findings: &mut Findings<'_>) {
        for entry in self.entries {
            if self.known.iter().any(|known| *known == entry.key) {
                continue;
            }
            let known = self.known.join(", ");
            let says = format!("unknown field `{}`; known here: {known}", entry.key);
            self.at_key(entry, "unknown-field", &says, findings);
        }
    }

    fn child(&self, entry: &'n Entry<'t>) -> Cursor<'n, 't> {
        Cursor {
            node: &entry.value,
            path: self.path_of(&entry.key),
        }
    }

    fn path_of(&self, key: &str) -> String {
        let path = &self.whole.path;
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    }

    fn no_twins(&self, findings: &mut Findings<'_>) {
        let mut seen = std::collections::HashSet::with_capacity(self.entries.len());
        for entry in self.entries {
            if !seen.insert(&*entry.key) {
                let says = format!("`{}` is there already", entry.key);
                self.at_key(entry, "duplicate-field", &says, findings);
            }
        }
    }

    fn at_key(
        &self,
        entry: &Entry<'t>,
        rule: &'static str,
        says: &str,
        findings: &mut Findings<'_>,
    ) {
        let place = Place {
            file: Arc::clone(findings.file),
            line: entry.line,
            column: entry.column,
            path: self.path_of(&entry.key),
        };
        findings.push(Severity::Error, place, rule, says);
    }
}
