//! YAML into a tree: the events of the parser, with aliases and merge keys written out.

use std::{borrow::Cow, collections::HashMap};

use granit_parser::{Event, Marker, Options, Parser, ScalarStyle, StrInput, Tag};

use super::{
    lines::Lines,
    scalar,
    tree::{DEEPEST, Entry, Fault, MOST_NODES, Node, Value},
};

/// What aliases may write out in one document: nodes, and bytes of text.
const MOST_COPIED: usize = 1_000_000;

/// Reads one document that begins at this line; `None` if there is none but comments.
///
/// # Errors
/// What the parser says, with its place; more nodes or depth than allowed; tags other than YAML's
/// own; a second document that no `---` announces.
pub(super) fn parse(text: &str, line: u32) -> Result<Option<Node<'_>>, Fault> {
    let mut options = Options::default();
    options.flow_nesting_limit = DEEPEST;
    options.block_nesting_limit = DEEPEST;
    // As libyaml, which the API server's clients use.
    options.block_scalar_eof_without_line_feed = true;
    // Another crate may have the feature on.
    options.emit_comments = false;
    let mut reader = Reader {
        lines: Lines::new(text, line),
        parser: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        nodes: 0,
        copied: 0,
    };
    reader.document()
}

/// Where something begins.
#[derive(Debug, Clone, Copy)]
struct At {
    line: u32,
    column: u32,
}

struct Reader<'t> {
    lines: Lines<'t>,
    parser: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, Node<'t>>,
    nodes: usize,
    copied: usize,
}

impl<'t> Reader<'t> {
    fn document(&mut self) -> Result<Option<Node<'t>>, Fault> {
        let mut found = None;
        loop {
            let (event, at) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(found),
                Event::DocumentStart(..) if found.is_some() => {
                    return Err(fault(at, "a further document must begin with a line `---`"));
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                event => found = Some(self.node(event, at, 0)?),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, At), Fault> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, self.at(&span.start))),
            Some(Err(error)) => Err(fault(self.at(error.marker()), error.info())),
            None => Ok((Event::StreamEnd, self.at(&Marker::default()))),
        }
    }

    fn at(&self, marker: &Marker) -> At {
        let (line, column) = self.lines.place(marker.byte_offset().unwrap_or_default());
        At { line, column }
    }

    fn node(&mut self, event: Event<'t>, at: At, depth: usize) -> Result<Node<'t>, Fault> {
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            return Err(fault(at, "the document is too big: split it"));
        }
        if depth > DEEPEST {
            return Err(fault(at, "lists and objects are nested too deeply"));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                (scalar_value(text, plain, tag.as_deref(), at)?, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                only_tag("seq", tag.as_deref(), at)?;
                (self.list(depth)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                only_tag("map", tag.as_deref(), at)?;
                (self.map(depth)?, anchor)
            }
            Event::Alias(id) => return self.alias(id, at),
            _ => return Err(fault(at, "a value is missing")),
        };
        let node = Node {
            value,
            line: at.line,
            column: at.column,
        };
        if anchor != 0 {
            let copy = self.copy(&node, at)?;
            self.anchors.insert(anchor, copy);
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Value<'t>, Fault> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items.into())),
                (event, at) => items.push(self.node(event, at, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value<'t>, Fault> {
        let mut entries = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, at) = self.next()?;
            let (text, plain) = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, style, 0, None) => (text, style == ScalarStyle::Plain),
                _ => return Err(fault(at, "a key must be a plain or quoted string")),
            };
            self.nodes += 1;
            let is_merge = plain && text == "<<";
            let key = if plain { scalar::key(text) } else { Some(text) };
            let key = key.ok_or_else(|| fault(at, "a key is missing"))?;
            let (event, value_at) = self.next()?;
            let value = self.node(event, value_at, depth + 1)?;
            if is_merge {
                merged.push((value, at));
                continue;
            }
            entries.push(Entry {
                key,
                line: at.line,
                column: at.column,
                value,
            });
        }
        for (value, at) in merged {
            merge(&mut entries, value, at)?;
        }
        Ok(Value::Map(entries.into()))
    }

    fn alias(&mut self, id: usize, at: At) -> Result<Node<'t>, Fault> {
        // Taken out while it is copied; what refers to itself is not there yet.
        let Some(node) = self.anchors.remove(&id) else {
            return Err(fault(at, "an alias may not refer to what it is part of"));
        };
        let copy = self.copy(&node, at);
        self.anchors.insert(id, node);
        copy
    }

    /// A copy, as long as there is room for it.
    fn copy(&mut self, node: &Node<'t>, at: At) -> Result<Node<'t>, Fault> {
        self.copied += 1;
        let value = match &node.value {
            Value::List(items) => {
                let copies = items.iter().map(|item| self.copy(item, at));
                Value::List(copies.collect::<Result<_, _>>()?)
            }
            Value::Map(entries) => {
                let copies = entries.iter().map(|entry| {
                    self.copied += 1 + entry.key.len();
                    Ok(Entry {
                        key: entry.key.clone(),
                        line: entry.line,
                        column: entry.column,
                        value: self.copy(&entry.value, at)?,
                    })
                });
                Value::Map(copies.collect::<Result<_, _>>()?)
            }
            Value::Text(text) => {
                self.copied += text.len();
                Value::Text(text.clone())
            }
            other => other.clone(),
        };
        if self.copied > MOST_COPIED {
            return Err(fault(
                at,
                "aliases make the document too big: write it out, or split it",
            ));
        }
        Ok(Node {
            value,
            line: node.line,
            column: node.column,
        })
    }
}

/// `<<: *defaults` adds the keys that are not there (YAML 1.1 merge).
fn merge<'t>(entries: &mut Vec<Entry<'t>>, value: Node<'t>, at: At) -> Result<(), Fault> {
    let sources = match value.value {
        Value::List(items) => items.into_vec(),
        _ => vec![value],
    };
    for source in sources {
        let Value::Map(added) = source.value else {
            return Err(fault(at, "`<<` takes an object or a list of objects"));
        };
        let own: std::collections::HashSet<String> =
            entries.iter().map(|entry| entry.key.to_string()).collect();
        let added = added.into_vec().into_iter();
        entries.extend(added.filter(|entry| !own.contains(&*entry.key)));
    }
    Ok(())
}

fn scalar_value<'t>(
    text: Cow<'t, str>,
    plain: bool,
    tag: Option<&Tag>,
    at: At,
) -> Result<Value<'t>, Fault> {
    let Some(tag) = tag else {
        return Ok(if plain {
            scalar::resolve(text)
        } else {
            Value::Text(text)
        });
    };
    if tag.handle().is_empty() && tag.suffix() == "!" || tag.core_suffix() == Some("str") {
        return Ok(Value::Text(text));
    }
    let value = scalar::resolve(text);
    let is_so = matches!(
        (tag.core_suffix(), &value),
        (Some("int"), Value::Integer(_))
            | (Some("float"), Value::Integer(_) | Value::Number(_))
            | (Some("bool"), Value::Bool(_))
            | (Some("null"), Value::Null)
    );
    if is_so {
        Ok(value)
    } else {
        Err(unknown_tag(tag, at))
    }
}

fn only_tag(name: &str, tag: Option<&Tag>, at: At) -> Result<(), Fault> {
    match tag {
        Some(tag) if tag.core_suffix() != Some(name) => Err(unknown_tag(tag, at)),
        _ => Ok(()),
    }
}

fn unknown_tag(tag: &Tag, at: At) -> Fault {
    fault(
        at,
        format!("the tag {} is not for this value", tag.original()),
    )
}

fn fault(at: At, message: impl Into<String>) -> Fault {
    Fault {
        line: at.line,
        column: at.column,
        message: message.into(),
    }
}
