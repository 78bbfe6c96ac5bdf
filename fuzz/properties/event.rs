//! What holds of any record that comes out of the ring buffer.

use flowmon_common::NewFlow;

/// A record decodes if it is whole and of this kind; then every byte of it is where it belongs.
pub(crate) fn check(record: &[u8]) {
    let whole = record.first_chunk::<{ size_of::<NewFlow>() }>();
    let is_event = whole.is_some_and(|record| record[0] == NewFlow::KIND);
    let decoded = NewFlow::decode(record);
    assert_eq!(decoded.is_some(), is_event);
    if let (Some(record), Some(event)) = (whole, decoded) {
        assert_eq!(encode(&event), record);
    }
}

/// The record as the kernel writes it.
fn encode(event: &NewFlow) -> Vec<u8> {
    let key = &event.key;
    [
        &[
            event.kind,
            event.direction,
            event.initiator,
            event.tcp_flags,
        ][..],
        &event.packets.to_ne_bytes(),
        &event.first_ns.to_ne_bytes(),
        &event.bytes.to_ne_bytes(),
        &key.ifindex.to_ne_bytes(),
        &key.local.octets(),
        &key.remote.octets(),
        &key.local_port.to_ne_bytes(),
        &key.remote_port.to_ne_bytes(),
        &[key.protocol, key.l3],
        &key.vlan.to_ne_bytes(),
        &event.reserved.to_ne_bytes(),
    ]
    .concat()
}
