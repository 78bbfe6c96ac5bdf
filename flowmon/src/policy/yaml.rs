//! YAML to paste, in the usual layout.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use super::Labels;

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Yaml {
    /// Ready to be written.
    Text(String),
    /// A sequence.
    List(Vec<Self>),
    /// A mapping, in this order.
    Map(Vec<(String, Self)>),
    /// An entry of a list with lines of comment before it.
    Commented(Vec<String>, Box<Self>),
}

/// A string.
pub fn text(value: impl fmt::Display) -> Yaml {
    Yaml::Text(scalar(value.to_string()))
}

/// A number.
pub fn number(value: u16) -> Yaml {
    Yaml::Text(value.to_string())
}

/// Quoted where YAML 1.1 or 1.2 would take it for something else than a string.
fn scalar(value: String) -> String {
    const OTHERS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    let is_word = |char: char| char.is_ascii_alphanumeric() || "-_./".contains(char);
    let is_plain = value.starts_with(|char: char| char.is_ascii_alphabetic())
        && value.chars().all(is_word)
        && !OTHERS.contains(&&*value.to_lowercase());
    if is_plain { value } else { quoted(&value) }
}

/// Double-quoted (YAML 1.2, 7.3.1): nothing but printable ASCII, so that no reader finds a line break
/// or a control character in it.
fn quoted(value: &str) -> String {
    let mut out = String::from("\"");
    for char in value.chars() {
        match (char, u32::from(char)) {
            ('"' | '\\', _) => {
                out.push('\\');
                out.push(char);
            }
            (' '..='~', _) => out.push(char),
            (_, code @ ..0x100) => push(&mut out, format_args!("\\x{code:02x}")),
            (_, code @ ..0x1_0000) => push(&mut out, format_args!("\\u{code:04x}")),
            (_, code) => push(&mut out, format_args!("\\U{code:08x}")),
        }
    }
    out.push('"');
    out
}

/// A string takes all there is to write.
fn push(out: &mut String, what: fmt::Arguments<'_>) {
    let _ = out.write_fmt(what);
}

/// Lines of comment, whatever is in them: what could end a line, move the cursor or is no ASCII is
/// escaped.
pub fn comment(line: &str) -> String {
    let mut out = String::from("#");
    for char in line.chars() {
        if out.len() == 1 {
            out.push(' ');
        }
        match char {
            ' '..='~' => out.push(char),
            _ => out.extend(char.escape_unicode()),
        }
    }
    out
}

/// A sequence.
pub fn list(nodes: impl IntoIterator<Item = Yaml>) -> Yaml {
    Yaml::List(nodes.into_iter().collect())
}

/// A mapping.
pub fn map<'a>(pairs: impl IntoIterator<Item = (&'a str, Yaml)>) -> Yaml {
    let pairs = pairs
        .into_iter()
        .map(|(key, value)| (scalar(key.to_owned()), value));
    Yaml::Map(pairs.collect())
}

/// The fields of a selector of exactly these labels.
pub fn match_labels(labels: &Labels) -> Vec<(&'static str, Yaml)> {
    if labels.is_empty() {
        return Vec::new();
    }
    let labels: BTreeMap<&str, _> = labels
        .iter()
        .map(|(key, value)| (&**key, text(value)))
        .collect();
    vec![("matchLabels", map(labels))]
}

impl Yaml {
    /// As a document.
    pub fn render(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out
    }

    /// Begins where the line stands, ends with a line break.
    fn write(&self, out: &mut String, indent: usize) {
        match self {
            Self::Text(text) => {
                out.push_str(text);
                out.push('\n');
            }
            Self::Commented(_, node) => node.write(out, indent),
            Self::List(nodes) if nodes.is_empty() => out.push_str("[]\n"),
            Self::List(nodes) => {
                for (number, node) in nodes.iter().enumerate() {
                    let mut indent_of_it = if number == 0 { 0 } else { indent };
                    if let Self::Commented(lines, _) = node {
                        for line in lines {
                            push(out, format_args!("{:indent_of_it$}{}\n", "", comment(line)));
                            indent_of_it = indent;
                        }
                    }
                    push(out, format_args!("{:indent_of_it$}- ", ""));
                    node.write(out, indent + 2);
                }
            }
            Self::Map(pairs) if pairs.is_empty() => out.push_str("{}\n"),
            Self::Map(pairs) => {
                for (number, (key, node)) in pairs.iter().enumerate() {
                    let indent_of_it = if number == 0 { 0 } else { indent };
                    push(out, format_args!("{:indent_of_it$}{key}:", ""));
                    match node {
                        Self::Map(pairs) if !pairs.is_empty() => {
                            push(out, format_args!("\n{:1$}", "", indent + 2));
                            node.write(out, indent + 2);
                        }
                        Self::List(nodes) if !nodes.is_empty() => {
                            push(out, format_args!("\n{:indent$}", ""));
                            node.write(out, indent);
                        }
                        _ => {
                            out.push(' ');
                            node.write(out, indent);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_layout() {
        let policy = map([
            ("name", text("a")),
            ("empty", map([])),
            ("none", list([])),
            (
                "ports",
                list([
                    map([("port", number(80)), ("to", map([("on", text("80"))]))]),
                    text("10.0.0.1/32"),
                ]),
            ),
        ]);
        let want = "name: a\nempty: {}\nnone: []\nports:\n- port: 80\n  to:\n    \"on\": \"80\"\n- \"10.0.0.1/32\"\n";
        assert_eq!(policy.render(), want);
    }

    #[test]
    fn comments_stand_before_what_they_are_about() {
        let rule = |port| {
            let lines = vec![format!("seen {port} times"), String::new()];
            Yaml::Commented(lines, Box::new(map([("port", number(port))])))
        };
        let rules = map([("spec", map([("rules", list([rule(1), rule(2)]))]))]);
        let want = "spec:\n  rules:\n  # seen 1 times\n  #\n  - port: 1\n  # seen 2 times\n  #\n  - port: 2\n";
        assert_eq!(rules.render(), want);
    }

    #[test]
    fn nothing_gets_out_of_a_string_or_a_comment() {
        let evil = "a\"\\\n- b: \u{85}\u{2028}\u{1b}[2J\u{feff}\u{202e}\u{1f600} #é";
        let quoted = text(evil).render();
        assert!(
            quoted
                .trim_end()
                .chars()
                .all(|char| (' '..='~').contains(&char))
        );
        let serialized =
            "\"a\\\"\\\\\\x0a- b: \\x85\\u2028\\x1b[2J\\ufeff\\u202e\\U0001f600 #\\xe9\"\n";
        assert_eq!(quoted, serialized);
        let comment = comment(evil);
        assert!(comment.chars().all(|char| (' '..='~').contains(&char)));
        assert!(
            comment.starts_with("# a\"\\\\u{a}- b: \\u{85}"),
            "{comment}"
        );
    }
}
