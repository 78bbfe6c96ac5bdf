//! YAML to paste, in the usual layout.

use std::fmt::{self, Write as _};

/// A node.
pub(super) enum Yaml {
    /// Ready to be written.
    Text(String),
    List(Vec<Yaml>),
    Map(Vec<(String, Yaml)>),
}

/// A string.
pub(super) fn text(value: impl fmt::Display) -> Yaml {
    Yaml::Text(scalar(value.to_string()))
}

/// A number.
pub(super) fn number(value: u16) -> Yaml {
    Yaml::Text(value.to_string())
}

/// Quoted where YAML 1.1 or 1.2 would take it for something else than a string.
fn scalar(value: String) -> String {
    const OTHERS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    let is_word = |char: char| char.is_ascii_alphanumeric() || "-_./".contains(char);
    let is_plain = value.starts_with(|char: char| char.is_ascii_alphabetic())
        && value.chars().all(is_word)
        && !OTHERS.contains(&&*value.to_lowercase());
    if is_plain {
        value
    } else {
        // A JSON string is a YAML one.
        serde_json::Value::from(value).to_string()
    }
}

pub(super) fn list(nodes: impl IntoIterator<Item = Yaml>) -> Yaml {
    Yaml::List(nodes.into_iter().collect())
}

pub(super) fn map<'a>(pairs: impl IntoIterator<Item = (&'a str, Yaml)>) -> Yaml {
    let pairs = pairs
        .into_iter()
        .map(|(key, value)| (scalar(key.to_owned()), value));
    Yaml::Map(pairs.collect())
}

impl Yaml {
    /// As a document.
    pub(super) fn render(&self) -> String {
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
            Self::List(nodes) => {
                for (number, node) in nodes.iter().enumerate() {
                    let indent_of_it = if number == 0 { 0 } else { indent };
                    let _ = write!(out, "{:indent_of_it$}- ", "");
                    node.write(out, indent + 2);
                }
            }
            Self::Map(pairs) if pairs.is_empty() => out.push_str("{}\n"),
            Self::Map(pairs) => {
                for (number, (key, node)) in pairs.iter().enumerate() {
                    let indent_of_it = if number == 0 { 0 } else { indent };
                    let _ = write!(out, "{:indent_of_it$}{key}:", "");
                    match node {
                        Self::Map(pairs) if !pairs.is_empty() => {
                            let _ = write!(out, "\n{:1$}", "", indent + 2);
                            node.write(out, indent + 2);
                        }
                        Self::List(_) => {
                            let _ = write!(out, "\n{:indent$}", "");
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
            (
                "ports",
                list([
                    map([("port", number(80)), ("to", map([("on", text("80"))]))]),
                    text("10.0.0.1/32"),
                ]),
            ),
        ]);
        let want = "name: a\nempty: {}\nports:\n- port: 80\n  to:\n    \"on\": \"80\"\n- \"10.0.0.1/32\"\n";
        assert_eq!(policy.render(), want);
    }
}
