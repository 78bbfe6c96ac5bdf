//! What a flowmon wrote: records, then a summary. And expectations that say why they missed.

use std::collections::BTreeMap;

use flowmon_common::{Totals, Traffic};
use serde_json::Value;

/// Everything on standard output.
#[derive(Debug)]
pub struct Said {
    /// The flow records, in order.
    pub records: Vec<Value>,
    /// The summary; null when there was none.
    pub summary: Value,
}

impl Said {
    /// Reads JSON lines.
    ///
    /// # Panics
    ///
    /// When a line is no JSON, has no known schema, or comes after the summary.
    pub fn parse(lines: &[String]) -> Self {
        let mut said = Self {
            records: Vec::new(),
            summary: Value::Null,
        };
        for line in lines {
            let value: Value = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("not JSON ({error}): {line}"));
            assert_eq!(
                said.summary,
                Value::Null,
                "the summary is not the last line: {line}"
            );
            match value.pointer("/schema").and_then(Value::as_str) {
                Some("flowmon.flow.v1") => said.records.push(value),
                Some("flowmon.summary.v1") => said.summary = value,
                _ => panic!("a line of no known schema: {line}"),
            }
        }
        said
    }

    /// The last record of each flow: its final counters.
    pub fn flows(&self) -> Vec<&Value> {
        let mut last: BTreeMap<String, &Value> = BTreeMap::new();
        for record in &self.records {
            let part = |pointer| record.pointer(pointer).unwrap_or(&Value::Null).to_string();
            let name = [
                "/endpoint/ifindex",
                "/protocol",
                "/vlan",
                "/local/ip",
                "/local/port",
                "/remote/ip",
                "/remote/port",
                "/icmp",
                "/first_seen",
            ];
            last.insert(name.map(part).join(" "), record);
        }
        last.into_values().collect()
    }

    /// The flows that match: every field of `pattern` is in the record, with that value.
    pub fn matching(&self, pattern: &Value) -> Vec<&Value> {
        let flows = self.flows();
        flows
            .into_iter()
            .filter(|flow| difference(flow, pattern).is_none())
            .collect()
    }

    /// The one flow that matches.
    ///
    /// # Panics
    ///
    /// When there is none, with the nearest miss; when there are several.
    pub fn one(&self, pattern: &Value) -> &Value {
        match self.matching(pattern).as_slice() {
            [flow] => flow,
            [] => {
                let nearest: Vec<String> = self
                    .flows()
                    .into_iter()
                    .filter_map(|flow| {
                        Some(format!("{}\n    in {flow}", difference(flow, pattern)?))
                    })
                    .collect();
                panic!("no flow matches {pattern}\n  {}", nearest.join("\n  "))
            }
            several => panic!("{} flows match {pattern}: {several:#?}", several.len()),
        }
    }

    /// `totals`, `attributed` or `unattributed` of the summary.
    ///
    /// # Panics
    ///
    /// When the summary has no such part.
    pub fn sum(&self, part: &str) -> Totals {
        let number = |name: &str| {
            self.summary
                .pointer(&format!("/{part}/{name}"))
                .and_then(Value::as_u64)
                .unwrap_or_else(|| panic!("no {part}/{name} in {}", self.summary))
        };
        Totals {
            tx: Traffic {
                packets: number("tx_packets"),
                bytes: number("tx_bytes"),
            },
            rx: Traffic {
                packets: number("rx_packets"),
                bytes: number("rx_bytes"),
            },
        }
    }

    /// Holds the summary to its promise: totals = attributed + unattributed, and the attributed
    /// part is the sum of the flows' final counters.
    ///
    /// # Panics
    ///
    /// When it is broken.
    pub fn assert_reconciles(&self) {
        let mut parts = self.sum("attributed");
        parts += self.sum("unattributed");
        assert_eq!(
            self.sum("totals"),
            parts,
            "totals = attributed + unattributed"
        );
        let mut flows = Totals::default();
        for flow in self.flows() {
            flows += counted(flow);
        }
        assert_eq!(
            flows,
            self.sum("attributed"),
            "the flows add up to what is attributed"
        );
    }

    /// As [`Self::assert_reconciles`]; and nothing was lost.
    ///
    /// # Panics
    ///
    /// When something was.
    pub fn assert_complete(&self) {
        self.assert_reconciles();
        assert_eq!(
            self.sum("unattributed"),
            Totals::default(),
            "{}",
            self.summary
        );
        assert_eq!(
            self.summary.pointer("/complete"),
            Some(&Value::Bool(true)),
            "{}",
            self.summary
        );
    }
}

/// A record's counters.
///
/// # Panics
///
/// When it has none.
pub fn counted(record: &Value) -> Totals {
    let number = |pointer: &str| {
        let value = record.pointer(pointer).and_then(Value::as_u64);
        value.unwrap_or_else(|| panic!("no {pointer} in {record}"))
    };
    Totals {
        tx: Traffic {
            packets: number("/tx/packets"),
            bytes: number("/tx/bytes"),
        },
        rx: Traffic {
            packets: number("/rx/packets"),
            bytes: number("/rx/bytes"),
        },
    }
}

/// Where `value` is not what `pattern` says; none when it is.
fn difference(value: &Value, pattern: &Value) -> Option<String> {
    match pattern {
        Value::Object(fields) => fields.iter().find_map(|(name, expected)| {
            let found = value.get(name).unwrap_or(&Value::Null);
            difference(found, expected).map(|why| format!("{name}: {why}"))
        }),
        _ => (value != pattern).then(|| format!("{value} is not {pattern}")),
    }
}
