//! Frames that no stack would send.

/// Ethernet and IPv4 of what follows, whose lengths are right.
pub(crate) fn ipv4(
    source: [u8; 4],
    destination: [u8; 4],
    protocol: u8,
    transport: &[u8],
) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    let length = u16::try_from(20 + transport.len()).unwrap_or(u16::MAX);
    frame.extend(length.to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    frame.extend(source);
    frame.extend(destination);
    frame.extend(transport);
    frame
}

/// A segment without data.
pub(crate) fn tcp(source: [u8; 4], destination: [u8; 4], port: u16, flags: u8) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    let mut header = [0u8; 20];
    header[..4].copy_from_slice(&[0x9c, 0x40, high, low]);
    header[12..14].copy_from_slice(&[0x50, flags]);
    ipv4(source, destination, 6, &header)
}

/// A datagram that states this length.
pub(crate) fn udp(source: [u8; 4], destination: [u8; 4], length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    ipv4(
        source,
        destination,
        17,
        &[0x9c, 0x40, 0, 9, high, low, 0, 0],
    )
}
