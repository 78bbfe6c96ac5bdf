//! Which records are of the same flow, and which flows of the same connection, as hashes.

use std::hash::{BuildHasher as _, Hash, Hasher, RandomState};

use super::Record;
use crate::model::Direction;

/// Names flows and connections by 128 bits of keyed hash, so that no log can be made to confuse
/// them.
#[derive(Debug, Default)]
pub struct Identities {
    keys: [RandomState; 2],
    /// What is hashed, in one piece: many small ones would cost more than reading the record.
    bytes: Vec<u8>,
}

/// Of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The flow: one at one endpoint.
    pub flow: u128,
    /// What a verdict depends on: both ends, their names, and the port that was asked.
    pub connection: u128,
}

impl Identities {
    /// With keys that nobody knows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Who a record is about.
    pub fn of(&mut self, record: &Record<'_>) -> Identity {
        self.bytes.clear();
        connection(record, &mut Bytes(&mut self.bytes));
        let connection = self.hash();
        self.bytes.clear();
        flow(record, &mut Bytes(&mut self.bytes));
        let flow = self.hash();
        Identity { flow, connection }
    }

    fn hash(&self) -> u128 {
        let [high, low] = self.keys.each_ref().map(|key| {
            let mut hasher = key.build_hasher();
            hasher.write(&self.bytes);
            u128::from(hasher.finish())
        });
        high << 64 | low
    }
}

/// What a verdict depends on. Where it is not known who asked, both ports count.
fn connection(record: &Record<'_>, to: &mut impl Hasher) {
    let Record {
        endpoint, remote, ..
    } = record;
    let ports = match record.direction {
        Direction::Egress => (None, remote.port),
        Direction::Ingress => (record.local.port, None),
        Direction::Unknown => (record.local.port, remote.port),
    };
    (record.local.ip, remote.ip, record.protocol).hash(to);
    (record.direction, ports, record.icmp.map(|icmp| icmp.kind)).hash(to);
    (&endpoint.kind, &endpoint.namespace, &endpoint.name).hash(to);
    (&remote.kind, &remote.namespace, &remote.name).hash(to);
}

/// What tells one flow from another. Direction and names are no part of it: they may become known
/// while it lives.
fn flow(record: &Record<'_>, to: &mut impl Hasher) {
    (record.local.ip, record.remote.ip, record.protocol).hash(to);
    (record.local.port, record.remote.port, record.icmp).hash(to);
    (&record.node, &record.endpoint.interface, record.vlan).hash(to);
    record.first_seen.hash(to);
}

/// Collects what is to be hashed.
struct Bytes<'a>(&'a mut Vec<u8>);

impl Hasher for Bytes<'_> {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::panic,
        clippy::unwrap_used,
        reason = "a test may fail by panicking"
    )]

    use serde_json::{Value, json};

    use super::*;
    use crate::replay::{Entry, record::read};

    fn line(changes: &[(&str, Value)]) -> String {
        let mut record = json!({
            "schema": "flowmon.flow.v1", "time": "2026-11-22T10:00:00Z", "event": "new",
            "node": "host-1", "endpoint": {"interface": "veth1"}, "direction": "egress",
            "protocol": "tcp", "local": {"ip": "10.1.0.5", "port": 43210},
            "remote": {"ip": "10.1.0.9", "port": 6379}, "first_seen": "2026-11-22T10:00:00Z",
        });
        for (pointer, value) in changes {
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            *record
                .pointer_mut(parent)
                .unwrap()
                .as_object_mut()
                .unwrap()
                .entry(field)
                .or_insert(Value::Null) = value.clone();
        }
        record.to_string()
    }

    /// Whether a change makes it another flow, and another connection.
    fn differ(changes: &[(&str, Value)]) -> (bool, bool) {
        let mut identities = Identities::new();
        let mut identity = |changes: &[(&str, Value)]| {
            let line = line(changes);
            match read(&line) {
                Entry::Flow(record, _) => identities.of(&record),
                other => panic!("{other:?}"),
            }
        };
        let (one, other) = (identity(&[]), identity(changes));
        (one.flow != other.flow, one.connection != other.connection)
    }

    #[test]
    fn what_makes_another_flow_and_another_connection() {
        for (pointer, value, flow, connection) in [
            ("/time", json!("2026-11-22T10:00:01Z"), false, false),
            ("/event", json!("end"), false, false),
            ("/last_seen", json!("2026-11-22T10:00:01Z"), false, false),
            ("/tx", json!({"packets": 9}), false, false),
            ("/first_seen", json!("2026-11-22T10:00:01Z"), true, false),
            ("/node", json!("host-2"), true, false),
            ("/endpoint/interface", json!("veth2"), true, false),
            ("/vlan", json!(7), true, false),
            ("/local/port", json!(43211), true, false),
            ("/remote/port", json!(6380), true, true),
            ("/local/ip", json!("10.1.0.6"), true, true),
            ("/remote/ip", json!("::ffff:10.1.0.9"), true, true),
            ("/protocol", json!("udp"), true, true),
            ("/direction", json!("unknown"), false, true),
            ("/endpoint/name", json!("cart"), false, true),
            ("/remote/namespace", json!("shop"), false, true),
        ] {
            assert_eq!(differ(&[(pointer, value)]), (flow, connection), "{pointer}");
        }
        // Of an incoming flow, the peer's port says nothing.
        let ingress = [("/direction", json!("ingress")), ("/remote/port", json!(1))];
        let mut identities = Identities::new();
        let [with, without] = [&ingress[..], &ingress[..1]].map(line);
        let mut connection = |line: &str| match read(line) {
            Entry::Flow(record, _) => identities.of(&record).connection,
            other => panic!("{other:?}"),
        };
        assert_eq!(connection(&with), connection(&without));
    }
}
