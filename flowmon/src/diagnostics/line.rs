//! A message as a line.

use std::fmt::{Debug, Write as _};

use serde_json::{Map, Value, json};
use tracing::{
    Event, Level,
    field::{Field, Visit},
};

use crate::clock::Moment;

/// What a message says: words, and fields by name.
#[derive(Debug, Default)]
pub(super) struct Message {
    words: String,
    fields: Vec<(&'static str, Value)>,
}

impl Message {
    /// Words only.
    pub(super) fn of(words: String) -> Self {
        Self {
            words,
            fields: Vec::new(),
        }
    }

    pub(super) fn from(event: &Event<'_>) -> Self {
        let mut message = Self::default();
        event.record(&mut message);
        message
    }

    /// The words, and the fields behind them.
    pub(super) fn words(&self) -> String {
        let mut words = one_line(&self.words);
        for (name, value) in &self.fields {
            let _infallible = match value {
                // A string is what `Debug` or `Display` made of something, or a string.
                Value::String(text) => write!(words, " {name}={}", one_line(text)),
                other => write!(words, " {name}={other}"),
            };
        }
        words
    }

    pub(super) fn text(&self, level: Level) -> String {
        format!("{level:>5} {}\n", self.words())
    }

    pub(super) fn json(&self, level: Level, now: &Moment) -> String {
        let mut line = json!({
            "time": now.wall.to_string(),
            "level": level.as_str().to_ascii_lowercase(),
            "message": self.words,
        });
        if !self.fields.is_empty()
            && let Some(line) = line.as_object_mut()
        {
            let fields = self.fields.iter();
            let fields: Map<_, _> = fields
                .map(|(name, value)| ((*name).to_owned(), unquoted(value)))
                .collect();
            line.insert("fields".to_owned(), fields.into());
        }
        format!("{line}\n")
    }

    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(words)) => self.words = words,
            // Where a library's message comes from (`tracing-log`).
            (name, _) if name.starts_with("log.") => {}
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.words),
            _ => self.add(field, format!("{value:?}").into()),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }
}

/// A string that `Debug` quoted, as it was.
fn unquoted(value: &Value) -> Value {
    let text = value
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok());
    text.map_or_else(|| value.clone(), Value::String)
}

/// Words from elsewhere must neither begin a line of their own nor talk to a terminal.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() {
            line.extend(char.escape_default());
        } else {
            line.push(char);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::Message;
    use crate::clock::Moment;
    use jiff::Timestamp;
    use serde_json::json;
    use tracing::Level;

    fn message() -> Message {
        Message {
            words: "attached\nERROR not so".to_owned(),
            fields: vec![("interface", "\"veth\"".into()), ("ifindex", 7.into())],
        }
    }

    #[test]
    fn a_message_is_one_line_whatever_it_says() {
        assert_eq!(
            message().text(Level::WARN),
            " WARN attached\\nERROR not so interface=\"veth\" ifindex=7\n"
        );
        assert_eq!(
            Message::of("so".to_owned()).text(Level::ERROR),
            "ERROR so\n"
        );
    }

    #[test]
    fn as_json_it_has_its_time_and_its_fields() -> Result<(), Box<dyn std::error::Error>> {
        let now = Moment {
            monotonic_ns: 5,
            wall: Timestamp::from_second(1)?,
        };
        let line = message().json(Level::WARN, &now);
        assert_eq!(line.lines().count(), 1);
        let expected = json!({
            "time": "1970-01-01T00:00:01Z",
            "level": "warn",
            "message": "attached\nERROR not so",
            "fields": {"interface": "veth", "ifindex": 7},
        });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line)?, expected);
        let bare = Message::of("so".to_owned()).json(Level::INFO, &now);
        assert!(!bare.contains("fields"));
        Ok(())
    }
}
