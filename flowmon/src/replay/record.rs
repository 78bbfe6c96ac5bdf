//! What an audit needs of a flow record; everything else in it is passed over.

use std::{collections::BTreeMap, net::IpAddr};

use flowmon_common::{Totals, Traffic};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use super::{Entry, Text};
use crate::model::{Direction, FlowEvent, Icmp, Outcome, Protocol};

const FLOW: &str = "flowmon.flow.v1";
const SUMMARY: &str = "flowmon.summary.v1";

/// A flow record (`flowmon.flow.v1`). Schema, time, direction, protocol, local and remote must be
/// there.
#[derive(Debug, Deserialize)]
pub struct Record<'a> {
    #[serde(borrow)]
    schema: Text<'a>,
    /// When the report was made, RFC 3339.
    #[serde(borrow)]
    pub time: Text<'a>,
    /// What happened; an update where it does not say.
    #[serde(default = "update")]
    pub event: FlowEvent,
    /// The node it was seen on.
    #[serde(borrow)]
    pub node: Option<Text<'a>>,
    /// Where it was seen.
    #[serde(borrow, default)]
    pub endpoint: Endpoint<'a>,
    /// Who opened it.
    pub direction: Direction,
    /// What it speaks.
    #[serde(deserialize_with = "protocol")]
    pub protocol: Protocol,
    /// Outermost VLAN identifier, 0 for none.
    #[serde(default)]
    pub vlan: u16,
    /// The endpoint's end.
    pub local: Address,
    /// The peer's end.
    #[serde(borrow)]
    pub remote: Remote<'a>,
    /// When it began, RFC 3339.
    #[serde(borrow)]
    pub first_seen: Option<Text<'a>>,
    /// When its last packet was, RFC 3339.
    #[serde(borrow)]
    pub last_seen: Option<Text<'a>>,
    /// Sent by the endpoint since the flow began.
    #[serde(default)]
    pub tx: Counted,
    /// Received by the endpoint since the flow began.
    #[serde(default)]
    pub rx: Counted,
    /// How the connection stands, when it is TCP.
    #[serde(borrow)]
    pub tcp: Option<Tcp<'a>>,
    /// The message, when it is ICMP.
    pub icmp: Option<Icmp>,
    /// The verdict that was recorded, `null` too.
    #[serde(borrow, default, deserialize_with = "present")]
    pub verdict: Option<&'a RawValue>,
}

/// What a record says of the verdict.
#[derive(Debug, Deserialize)]
pub struct Recorded<'a> {
    /// What it came to.
    pub outcome: Outcome,
    /// Why.
    #[serde(borrow)]
    pub reason: Option<Text<'a>>,
}

/// Where a flow was seen.
#[derive(Debug, Default, Deserialize)]
pub struct Endpoint<'a> {
    /// Name of the interface.
    #[serde(borrow)]
    pub interface: Option<Text<'a>>,
    /// What is behind it: `pod`, `container`, `host`, …
    #[serde(borrow)]
    pub kind: Option<Text<'a>>,
    /// The namespace of that.
    #[serde(borrow)]
    pub namespace: Option<Text<'a>>,
    /// The name of that.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
}

/// An end of a flow: no address when it is not IP, no port where the protocol has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Address {
    /// Its address.
    pub ip: Option<IpAddr>,
    /// Its port.
    pub port: Option<u16>,
}

/// The peer's end.
#[derive(Debug, Deserialize)]
pub struct Remote<'a> {
    /// Its address.
    pub ip: Option<IpAddr>,
    /// Its port.
    pub port: Option<u16>,
    /// What it is: `pod`, `service`, `external`, …
    #[serde(borrow)]
    pub kind: Option<Text<'a>>,
    /// Its namespace.
    #[serde(borrow)]
    pub namespace: Option<Text<'a>>,
    /// Its name.
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
}

/// How a connection stands.
#[derive(Debug, Deserialize)]
pub struct Tcp<'a> {
    /// `established`, `refused`, …
    #[serde(borrow)]
    pub state: Option<Text<'a>>,
}

/// Packets and bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Counted {
    /// Packets on the wire.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What the last line of a run says of it (`flowmon.summary.v1`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct SummaryLine {
    /// What was lost, by cause.
    #[serde(default)]
    pub lost: BTreeMap<String, u64>,
    /// Is every packet in a reported flow, and every report delivered?
    pub complete: bool,
}

impl Record<'_> {
    /// Both directions' packets and bytes.
    pub const fn totals(&self) -> Totals {
        Totals {
            tx: self.tx.traffic(),
            rx: self.rx.traffic(),
        }
    }

    /// The verdict that was recorded, where there is one that can be read.
    pub fn recorded(&self) -> Option<Recorded<'_>> {
        serde_json::from_str(self.verdict?.get()).ok().flatten()
    }
}

impl Counted {
    const fn traffic(self) -> Traffic {
        Traffic {
            packets: self.packets,
            bytes: self.bytes,
        }
    }
}

/// Reads a line.
pub(super) fn read(line: &str) -> Entry<'_> {
    #[derive(Deserialize)]
    struct Schema<'a> {
        #[serde(borrow)]
        schema: Text<'a>,
    }

    // To serde a list of the fields' values would be as good.
    if !line.starts_with('{') {
        return Entry::Unreadable("no JSON object".to_owned());
    }
    let unreadable = |error: serde_json::Error| Entry::Unreadable(reason(&error));
    let error = match serde_json::from_str::<Record<'_>>(line) {
        Ok(record) if &*record.schema == FLOW => return Entry::Flow(record, line),
        Ok(record) => return Entry::Foreign(record.schema),
        Err(error) => error,
    };
    match serde_json::from_str::<Schema<'_>>(line) {
        Ok(Schema { schema }) if &*schema == SUMMARY => {
            serde_json::from_str(line).map_or_else(unreadable, Entry::Summary)
        }
        Ok(Schema { schema }) if &*schema != FLOW => Entry::Foreign(schema),
        _ => unreadable(error),
    }
}

/// What is wrong, without the line that the parser counts by itself.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    if error.is_eof() {
        format!("truncated at column {}", error.column())
    } else {
        format!("{what} at column {}", error.column())
    }
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

const fn update() -> FlowEvent {
    FlowEvent::Update
}

fn protocol<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Protocol, D::Error> {
    let text = Text::deserialize(deserializer)?;
    let unknown = || de::Error::invalid_value(de::Unexpected::Str(&text), &"a protocol");
    text.parse().map_err(|()| unknown())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, reason = "a test may fail by panicking")]

    use super::*;
    use serde_json::{Value, json};

    fn least() -> Value {
        json!({
            "schema": "flowmon.flow.v1", "time": "2026-11-22T10:00:00Z", "direction": "egress",
            "protocol": "tcp", "local": {"ip": "10.1.0.5", "port": 43210},
            "remote": {"ip": "10.1.0.9", "port": 6379},
        })
    }

    fn with(field: &str, value: Value) -> String {
        let mut record = least();
        if let Value::Object(fields) = &mut record {
            fields.insert(field.to_owned(), value);
        }
        record.to_string()
    }

    fn record(line: &str) -> Record<'_> {
        match read(line) {
            Entry::Flow(record, of) if of == line => record,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn unreadable(line: &str) -> String {
        match read(line) {
            Entry::Unreadable(why) => why,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn six_fields_are_enough_and_each_of_them_is_needed() {
        let line = least().to_string();
        let record = record(&line);
        assert_eq!(record.event, FlowEvent::Update);
        assert_eq!(record.totals(), Totals::default());
        assert_eq!(record.remote.port, Some(6379));
        for field in ["time", "direction", "protocol", "local", "remote"] {
            let mut less = least();
            if let Value::Object(fields) = &mut less {
                fields.remove(field);
            }
            let why = unreadable(&less.to_string());
            assert!(why.contains(&format!("missing field `{field}`")), "{why}");
        }
    }

    #[test]
    fn names_with_escapes_and_without_are_the_same() {
        let line = with("endpoint", json!({"namespace": "shop", "name": "cart"}));
        let escaped = line.replace("cart", "c\\u0061rt");
        assert_ne!(line, escaped);
        for line in [line, escaped] {
            let endpoint = record(&line).endpoint;
            assert_eq!(endpoint.name.as_deref(), Some("cart"));
            assert_eq!(endpoint.kind, None);
        }
    }

    #[test]
    fn what_is_not_known_may_be_null_or_absent() {
        let line = with("endpoint", json!({"namespace": null, "name": null}));
        assert_eq!(record(&line).endpoint.name, None);
        let line = with("local", json!({}));
        assert_eq!(record(&line).local.ip, None);
        let line = with("verdict", Value::Null);
        let verdict = record(&line).verdict.map(RawValue::get);
        assert_eq!(verdict, Some("null")); // it is there, to be replaced
    }

    #[test]
    fn what_is_wrong_is_told_with_its_column() {
        let line = least().to_string();
        for cut in 1..line.len() {
            let part = line.get(..cut).unwrap_or_default();
            assert_eq!(unreadable(part), format!("truncated at column {cut}"));
        }
        for (field, value, expected) in [
            ("direction", json!("out"), "unknown variant `out`"),
            ("protocol", json!("TCP"), "a protocol"),
            ("protocol", json!(6), "a string"),
            ("local", json!({"ip": "10.1.0.256"}), "IP address"),
            ("local", json!({"ip": "10.1.0.5", "port": 65536}), "u16"),
            ("tx", json!({"packets": -1}), "u64"),
            ("icmp", json!("echo"), "struct Icmp"),
        ] {
            let why = unreadable(&with(field, value));
            assert!(why.contains(expected), "{why}");
            assert!(why.contains(" at column "), "{why}");
        }
        let twice = line.replace("\"direction\"", "\"protocol\":\"udp\",\"direction\"");
        let why = unreadable(&twice);
        assert!(why.contains("duplicate field `protocol`"), "{why}");
        for line in [
            "",
            r#"["flowmon.flow.v1","t","new"]"#,
            "x",
            "[]",
            "{}",
            "null",
            "7",
            "\"\"",
            &format!("{line}{line}"),
        ] {
            unreadable(line);
        }
    }

    #[test]
    fn other_schemas_are_told_from_nonsense() {
        for line in [
            json!({"schema": "flowmon.flow.v2", "direction": 5}).to_string(),
            with("schema", json!("flowmon.flow.v2")),
        ] {
            match read(&line) {
                Entry::Foreign(schema) => assert_eq!(&*schema, "flowmon.flow.v2"),
                other => panic!("{line}: {other:?}"),
            }
        }
        let line =
            r#"{"schema":"flowmon.summary.v1","lost":{"events":3},"flows":2,"complete":false}"#;
        match read(line) {
            Entry::Summary(summary) => {
                assert_eq!(summary.lost.get("events"), Some(&3));
                assert!(!summary.complete);
            }
            other => panic!("{other:?}"),
        }
        unreadable(r#"{"schema":"flowmon.summary.v1"}"#);
    }

    proptest::proptest! {
        #[test]
        fn no_line_is_too_strange(line in ".{0,200}", at in 0..300_usize, char in proptest::char::any()) {
            let _any = read(&line);
            let mut mutated = with("endpoint", json!({"kind": "pod"}));
            if mutated.is_char_boundary(at) && at < mutated.len() {
                mutated.insert(at, char);
            }
            let _any = read(&mutated);
        }
    }
}
