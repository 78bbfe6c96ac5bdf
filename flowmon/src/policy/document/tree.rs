//! A document as a tree of values, each with its place in the text.

use std::borrow::Cow;

/// What one document may hold at most: some 20,000 pods as `kubectl` prints them.
pub(super) const MOST_NODES: usize = 12_000_000;
/// Lists and maps in one another; what `kubectl` prints stays below 40.
pub(super) const DEEPEST: usize = 128;

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::policy) struct Node<'t> {
    pub(in crate::policy) value: Value<'t>,
    /// Line, from 1.
    pub(in crate::policy) line: u32,
    /// Column, from 1.
    pub(in crate::policy) column: u32,
}

/// What JSON knows, for YAML is turned into JSON before the API server sees it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::policy) enum Value<'t> {
    Null,
    Bool(bool),
    Integer(i64),
    /// Whatever number is no integer of 64 bits.
    Number(f64),
    Text(Cow<'t, str>),
    List(Box<[Node<'t>]>),
    /// In the order of the text; keys may occur more than once.
    Map(Box<[Entry<'t>]>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::policy) struct Entry<'t> {
    pub(in crate::policy) key: Cow<'t, str>,
    /// Where the key stands.
    pub(in crate::policy) line: u32,
    pub(in crate::policy) column: u32,
    pub(in crate::policy) value: Node<'t>,
}

/// Why there is no tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) message: String,
}

impl<'t> Node<'t> {
    /// The value of a key, `None` if it is absent or null, or if this is no map.
    pub(in crate::policy) fn get(&self, key: &str) -> Option<&Node<'t>> {
        let found = self.entries().iter().find(|entry| entry.key == key)?;
        (found.value.value != Value::Null).then_some(&found.value)
    }

    /// The value at the end of a chain of keys.
    pub(in crate::policy) fn at(&self, keys: &[&str]) -> Option<&Node<'t>> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Its keys and values; none if it is no map.
    pub(in crate::policy) fn entries(&self) -> &[Entry<'t>] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Its items; none if it is no list.
    pub(in crate::policy) fn items(&self) -> &[Node<'t>] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// Its text, if that is what it is.
    pub(in crate::policy) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Value<'_> {
    /// What to call it in an error.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) | Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "an object",
        }
    }
}
